"""The field ``volume``: a grid of features that a 3D U-Net makes of all views, sampled once per point."""

__version__ = "0.1.0"
