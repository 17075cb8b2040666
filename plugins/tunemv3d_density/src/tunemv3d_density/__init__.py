"""The field ``density``: a density and clean latents at every point, rendered as NeRF renders."""

__version__ = "0.1.0"
