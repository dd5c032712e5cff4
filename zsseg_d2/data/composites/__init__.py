"""Composites: a foreground pasted into a background, with its mask and the depth of every pixel; made on the fly."""
