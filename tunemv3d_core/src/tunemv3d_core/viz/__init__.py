"""Pictures of what was sampled, and charts of a run's figures."""
