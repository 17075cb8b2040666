"""Multi-view datasets from meshes: rendering, checking, converting, captions, shards."""

__version__ = "0.1.0"
