"""Captions: measured on the pictures, or written by an image-captioning model."""
