"""Reports on one page, and a live viewer."""

__version__ = "0.1.0"
