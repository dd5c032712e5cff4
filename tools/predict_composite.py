"""Cut a pasted object out of a picture: the same as ``zsseg-d2 predict-composite``; see --help."""

from _console import run

if __name__ == "__main__":
    run("predict-composite")
