"""Decoders of phrase segmentation on a frozen CLIP, and their losses."""
