"""Train and evaluate: the same as ``zsseg-d2 train``; see --help."""

from _console import run

if __name__ == "__main__":
    run("train")
