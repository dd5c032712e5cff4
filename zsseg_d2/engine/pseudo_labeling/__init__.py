"""Pseudo-labels: a zero-shot model labels training images."""
