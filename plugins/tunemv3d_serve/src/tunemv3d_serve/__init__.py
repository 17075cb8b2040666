"""Sampling behind HTTP: a queue, an API and a page."""

__version__ = "0.1.0"
