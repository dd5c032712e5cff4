"""Image files to pixels: bounded, checked, and in the orientation of their labels."""
