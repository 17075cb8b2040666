"""The render job: which cameras, what is written, by how many workers."""
