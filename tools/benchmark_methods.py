"""Time a training step of each method: the same as ``zsseg-d2 benchmark-methods``; see --help."""

from _console import run

if __name__ == "__main__":
    run("benchmark-methods")
