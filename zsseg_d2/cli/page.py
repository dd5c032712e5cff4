"""Open a page in the browser: drop an image, type words or a phrase, and see what is found.

    python tools/page.py
    python tools/page.py --config-file configs/coco/fcclip.yaml configs/towers/convnext_large.yaml \\
        MODEL.WEIGHTS weights/fcclip_cocopan.pth
    python tools/page.py --tab phrase --config-file configs/phrasecut/clipseg_rd64.yaml \\
        MODEL.WEIGHTS model.safetensors MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS ""

It needs Gradio: pip install 'zsseg_d2[page]'. Only this machine reaches the page, unless --host says otherwise; then
there is no password. A config belongs to the tabs of its kind of model, and the others have their embedded model.
docs/page.md says more.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all. Default: 127.0.0.1")
    parser.add_argument("--port", type=_port, help="default: the first free one from 7860")
    parser.add_argument(
        "--tab", action="append", choices=("words", "auto", "phrase"), help="may be repeated; default: all"
    )
    parser.add_argument(
        "--max-upload", type=_megabytes, default=20.0, metavar="MB", help="size of an image file; default: 20"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1, …; default: MODEL.DEVICE of the config")
    parser.add_config_arguments("default: the embedded models")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"{number} is not in 1 .. 65535")
    return number


def _megabytes(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1024:
        raise argparse.ArgumentTypeError(f"{number:g} is not above 0 and at most 1024")
    return number


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    from zsseg_d2.page.program import run_page

    return run_page(args)
