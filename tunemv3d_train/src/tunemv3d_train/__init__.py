"""TuneMV3D: train."""

__version__ = "0.1.0"
