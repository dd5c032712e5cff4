"""Train an embedded mini CLIP: the same as ``zsseg-d2 pretrain-mini-clip``; see --help."""

from _console import run

if __name__ == "__main__":
    run("pretrain-mini-clip")
