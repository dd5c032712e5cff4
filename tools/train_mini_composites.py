"""Train the embedded net of composites: the same as ``zsseg-d2 train-mini-composites``; see --help."""

from _console import run

if __name__ == "__main__":
    run("train-mini-composites")
