"""Demonstrate street scenes, zero-shot segmentation, phrases, fine-tuning with labels of some classes, and found words.

python tools/demo.py [--output output/demo] [--images 6] [--zero-shot-only]
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from zsseg_d2.cli import predict, run_suite, segment, train_net
from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

PHRASES = ("bench", "person")


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--output", default="output/demo")
    parser.add_argument("--images", "--pictures", type=int, default=6, help="images to visualize; default: 6")
    parser.add_argument("--zero-shot-only", action="store_true", help="without the part that trains")
    return parser.parse_args(argv)


@program(parse_arguments)
def main(args: argparse.Namespace, *, phrase_image: Path) -> int:
    """Run the demonstration.

    Args:
        args: the parsed command line.
        phrase_image: the image that the phrases are looked for in, and that words are found in.

    Returns:
        The exit status.
    """
    output, steps, start = Path(args.output), 4 if args.zero_shot_only else 5, time.perf_counter()
    from zsseg_d2.folder_lock import writing

    with writing(output, "demo.py"):
        _make_scenes(steps)
        _zero_shot(output, args.images, steps)
        print(f"\n3/{steps}  Phrases: what each of them means in an image", flush=True)
        words = [word for phrase in PHRASES for word in ("--phrase", phrase)]
        segment.main(["--image", str(phrase_image), *words, "--output", str(output / "phrases.png")])
        status = 0 if args.zero_shot_only else _methods(output)
        status = _no_words(output, phrase_image, steps) or status
    seconds = time.perf_counter() - start
    print(f"\nDone in {seconds:.0f} s. More methods, over three seeds:\n{next_command()}")
    return status


def next_command() -> str:
    """Return a command line for all methods that runs as it is, from where the demonstration was started."""
    return shlex.join([sys.executable, str(Path(sys.argv[0]).with_name("run_suite.py")), "minicity/suite.yaml"])


def _make_scenes(steps: int) -> None:
    print(f"1/{steps}  MiniCity: 300 training and 50 validation scenes in Cityscapes format", flush=True)
    from zsseg_d2.data.paths import data_folder
    from zsseg_d2.data.synthetic import ensure_minicity

    print(f"     {ensure_minicity(data_folder())}")


def _zero_shot(output: Path, images: int, steps: int) -> None:
    print(
        f"2/{steps}  Zero shot: a model that never saw these streets, with the 19 class names of Cityscapes", flush=True
    )
    options = ["OUTPUT_DIR", str(output), "ZSSEG.VIS_IMAGES", str(images), "SEED", "0"]
    train_net.evaluate(["--config-file", "minicity/zero_shot.yaml", *options])
    print("\nThe images (input, prediction, ground truth):")
    for path in sorted((output / "inference" / "minicity_panoptic_val" / "visualizations").glob("*.png")):
        print(f"  {path}")


def _methods(output: Path) -> int:
    print(
        "\n4/5  The labels of all things are deleted, and the model is fine-tuned with the rest, for a few minutes:\n"
        "     in-class fine-tuning, its map merged with the zero-shot one, and two models trained together",
        flush=True,
    )
    return run_suite.main(["minicity/suite_demo.yaml", "--output", str(output / "methods")]) or 0


def _no_words(output: Path, image: Path, steps: int) -> int:
    print(f"\n{steps}/{steps}  No words at all: they are found in the image, and segmented", flush=True)
    folder = output / "no_words"
    status = predict.main([str(image), "--words", "auto", "--output", str(folder), "--clusters", "--overwrite"]) or 0
    print("The segments and the clusters that the words come from:")
    for path in sorted((*folder.glob("overlay/*"), *folder.glob("clusters/*"))):
        print(f"  {path}")
    return status
