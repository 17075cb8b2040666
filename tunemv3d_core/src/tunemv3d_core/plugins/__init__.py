"""Components by slot and name: descriptors, discovery, the registry."""
