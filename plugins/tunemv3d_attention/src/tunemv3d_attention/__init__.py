"""The field ``attention``: the cells of all views attend to each other. Importing this imports no torch."""

__version__ = "0.1.0"
