"""Panoptic datasets: files, classes, records and training tensors."""
