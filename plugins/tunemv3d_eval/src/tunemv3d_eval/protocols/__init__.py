"""Protocols: what an evaluation samples and measures, as objects with a name and a version."""
