"""Render MiniPhrases: the same as ``zsseg-d2 make-miniphrases``; see --help."""

from _console import run

if __name__ == "__main__":
    run("make-miniphrases")
