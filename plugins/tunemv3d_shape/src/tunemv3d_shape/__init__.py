"""TuneMV3D: shape."""

__version__ = "0.1.0"
