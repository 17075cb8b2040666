"""The small world: a 2D prior, pictures of real chairs and a tuned adapter, all in the ecosystem's formats."""

__version__ = "0.1.0"
