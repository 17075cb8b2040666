"""The frozen 2D diffusion model, the copied encoder, zero convolutions and the sampling pipeline.

Importing this package imports no torch. Components are described in ``plugin`` and ``spec``; a tuned model is
sampled with ``tunemv3d_modulation.pipeline.TuneMV3DPipeline``.
"""

__version__ = "0.1.0"
