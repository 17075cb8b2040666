"""Textured meshes of sampled objects, and their refinement."""

__version__ = "0.1.0"
