"""Pictures of sampled objects, and charts of a run's metrics."""
