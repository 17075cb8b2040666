"""TuneMV3D: mini."""

__version__ = "0.1.0"
