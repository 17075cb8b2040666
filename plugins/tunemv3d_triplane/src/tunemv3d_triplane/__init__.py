"""The field ``triplane``: three planes of features that say the signed distance and the values of every point."""

__version__ = "0.1.0"
