"""Measures of how consistent a model's views are, and the command that takes them."""

__version__ = "0.1.0"
