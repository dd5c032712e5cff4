"""Validate a download of PhraseCut: the same as ``zsseg-d2 prepare-phrasecut``; see --help."""

from _console import run

if __name__ == "__main__":
    run("prepare-phrasecut")
