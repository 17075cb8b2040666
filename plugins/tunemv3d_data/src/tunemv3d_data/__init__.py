"""TuneMV3D: data."""

__version__ = "0.1.0"
