"""Compute statistics of CLIP's embeddings over a dataset: the same as ``zsseg-d2 feature-statistics``; see --help."""

from _console import run

if __name__ == "__main__":
    run("feature-statistics")
