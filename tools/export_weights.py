"""Write the weights of a checkpoint alone: the same as ``zsseg-d2 export-weights``; see --help."""

from _console import run

if __name__ == "__main__":
    run("export-weights")
