"""The field ``volume``: a grid of features that a 3D U-Net made of all views, looked up once a point."""

__version__ = "0.1.0"
