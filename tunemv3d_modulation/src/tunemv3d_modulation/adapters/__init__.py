"""LoRA and textual inversions on top of the 2D model, when it samples."""
