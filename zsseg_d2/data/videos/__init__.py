"""Video files to frames and back: bounded and checked, by OpenCV."""
