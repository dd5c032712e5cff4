"""Panoptic datasets that a YAML file describes: the format, its checks, and the registration."""
