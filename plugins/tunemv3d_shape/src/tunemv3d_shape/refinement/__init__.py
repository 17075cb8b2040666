"""A surface and its colours, fitted to one object's views."""
