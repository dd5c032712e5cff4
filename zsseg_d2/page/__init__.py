"""A page in the browser: an image and words in, named segments out."""
