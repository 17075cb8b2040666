"""The field ``epipolar``: a density, and latents by attention over views and along rays, as IBRNet and GNT look."""

__version__ = "0.1.0"
