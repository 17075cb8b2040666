"""Where a 2D model comes from: names, the hub, and which of a folder's files are its weights."""
