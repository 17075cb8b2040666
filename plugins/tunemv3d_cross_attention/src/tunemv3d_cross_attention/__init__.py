"""The injector ``cross-attention``: skips attend to lifted maps. Importing this imports no torch."""

__version__ = "0.1.0"
