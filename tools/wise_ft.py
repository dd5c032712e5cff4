"""Interpolate zero-shot and fine-tuned weights: the same as ``zsseg-d2 wise-ft``; see --help."""

from _console import run

if __name__ == "__main__":
    run("wise-ft")
