"""TuneMV3D: modulation."""

__version__ = "0.1.0"
