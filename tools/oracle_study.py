"""Evaluate a model with true classes or true masks: the same as ``zsseg-d2 oracle-study``; see --help."""

from _console import run

if __name__ == "__main__":
    run("oracle-study")
