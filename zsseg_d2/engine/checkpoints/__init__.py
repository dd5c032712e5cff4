"""Weights and checkpoints: finding, reading, loading, saving, and arithmetic on them."""
