"""The field ``lrm``: a transformer from views to three planes of features, which every point is sampled from."""

__version__ = "0.1.0"
