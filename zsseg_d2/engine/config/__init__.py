"""Config files: finding, reading, merging and validating them."""
