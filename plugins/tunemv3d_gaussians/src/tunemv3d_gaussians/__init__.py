"""The field ``gaussians``: one 3D Gaussian for every pixel of every view. Importing this imports no torch."""

__version__ = "0.1.0"
