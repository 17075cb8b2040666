"""The typed spec of a run: options, loading, errors, JSON Schema."""
