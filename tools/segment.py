"""Segment what phrases mean in images: the same as ``zsseg-d2 segment``; see --help."""

from _console import run

if __name__ == "__main__":
    run("segment")
