"""Split the checkpoint of two models, or join two: the same as ``zsseg-d2 combined-weights``; see --help."""

from _console import run

if __name__ == "__main__":
    run("combined-weights")
