"""Time fast forms against plain ones: the same as ``zsseg-d2 benchmark``; see --help."""

from _console import run

if __name__ == "__main__":
    run("benchmark")
