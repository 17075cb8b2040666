"""From a dataset folder to WebDataset shards with an index."""
