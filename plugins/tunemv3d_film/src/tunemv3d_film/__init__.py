"""The injector ``film``: lifted maps scale and shift the frozen skips. Importing this imports no torch."""

__version__ = "0.1.0"
