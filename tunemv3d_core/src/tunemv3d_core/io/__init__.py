"""What lies on a disk: posed pictures, shards, samples, checkpoints and their provenance."""
