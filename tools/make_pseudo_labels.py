"""Label deleted classes with a zero-shot model: the same as ``zsseg-d2 make-pseudo-labels``; see --help."""

from _console import run

if __name__ == "__main__":
    run("make-pseudo-labels")
