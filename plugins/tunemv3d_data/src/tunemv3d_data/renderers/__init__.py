"""The mesh renderers, and the light that they share."""
