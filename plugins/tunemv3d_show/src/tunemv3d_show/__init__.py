"""What was made, as one page and as a live viewer."""

__version__ = "0.1.0"
