"""TuneMV3D: neus."""

__version__ = "0.1.0"
