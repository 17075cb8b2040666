"""Meshes as renderers need them, and variants of them."""
