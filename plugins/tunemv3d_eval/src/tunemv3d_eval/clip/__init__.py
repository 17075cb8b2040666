"""CLIP models that judge pictures by texts."""
