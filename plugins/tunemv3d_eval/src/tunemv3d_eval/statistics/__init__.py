"""Intervals and tests of figures that were measured on prompts and seeds; functions of arrays alone."""
