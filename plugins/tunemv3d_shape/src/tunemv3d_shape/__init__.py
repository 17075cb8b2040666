"""From sampled objects to textured meshes, and their refinement."""

__version__ = "0.1.0"
