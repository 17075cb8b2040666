"""Files and folders: posed pictures, shards, samples, checkpoints and their provenance."""
