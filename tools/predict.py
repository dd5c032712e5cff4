"""Find the segments of any words in images: the same as ``zsseg-d2 predict``; see --help."""

from _console import run

if __name__ == "__main__":
    run("predict")
