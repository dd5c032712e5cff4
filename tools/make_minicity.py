"""Render MiniCity and MiniWorld: the same as ``zsseg-d2 make-minicity``; see --help."""

from _console import run

if __name__ == "__main__":
    run("make-minicity")
