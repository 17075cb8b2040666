"""View encoder, aggregator and NeuS interaction field of TuneMV3D (paper B.1)."""

__version__ = "0.1.0"
