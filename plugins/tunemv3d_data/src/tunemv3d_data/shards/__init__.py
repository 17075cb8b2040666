"""Packing of a dataset folder into WebDataset shards with an index."""
