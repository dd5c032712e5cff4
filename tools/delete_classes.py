"""Write copies of a dataset without the labels of some classes: the same as ``zsseg-d2 delete-classes``; see --help."""

from _console import run

if __name__ == "__main__":
    run("delete-classes")
