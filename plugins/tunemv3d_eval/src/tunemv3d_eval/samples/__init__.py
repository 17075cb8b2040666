"""Samples of an evaluation: made once, kept on disk with their hashes, and read again by whoever scores them."""
