"""Write composites to files, or check them: the same as ``zsseg-d2 make-composites``; see --help."""

from _console import run

if __name__ == "__main__":
    run("make-composites")
