"""Train an embedded captioner: the same as ``zsseg-d2 pretrain-mini-captioner``; see --help."""

from _console import run

if __name__ == "__main__":
    run("pretrain-mini-captioner")
