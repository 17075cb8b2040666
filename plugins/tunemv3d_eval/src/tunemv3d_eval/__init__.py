"""How consistent a model's views are: measures, and the command that takes them."""

__version__ = "0.1.0"
