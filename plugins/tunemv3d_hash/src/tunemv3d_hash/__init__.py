"""The field ``hash``: a multi-resolution hash grid that all objects share, modulated by each object's views."""

__version__ = "0.1.0"
