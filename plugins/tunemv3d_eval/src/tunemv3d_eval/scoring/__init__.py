"""Measurement of samples: the chosen metrics, controls made from the same pictures, and scores that are kept."""
