"""From another layout, or a video, to a dataset of ours."""
