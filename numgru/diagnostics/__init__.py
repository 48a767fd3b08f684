"""Looking into a model and its training."""
