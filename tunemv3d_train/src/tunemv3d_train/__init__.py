"""TuneMV3D's dataset reader, losses and trainer."""

__version__ = "0.1.0"
