"""From meshes to multi-view datasets: rendering, checking, converting, captions, shards."""

__version__ = "0.1.0"
