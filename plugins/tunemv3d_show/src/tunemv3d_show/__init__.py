"""TuneMV3D: show."""

__version__ = "0.1.0"
