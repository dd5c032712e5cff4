"""Training: loaders, optimizers, hooks, the trainer."""
