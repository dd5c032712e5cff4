"""Datasets of label maps, whose pixels hold the value of a class: every class of an image is one segment of stuff."""
