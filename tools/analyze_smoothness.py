"""Compare grey levels within and across objects: the same as ``zsseg-d2 analyze-smoothness``; see --help."""

from _console import run

if __name__ == "__main__":
    run("analyze-smoothness")
