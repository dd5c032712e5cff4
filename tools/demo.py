"""Street scenes, zero-shot segmentation, phrases, and what fine-tuning with some labels does to the others, in one command.

    python tools/demo.py [--output output/demo] [--pictures 6] [--zero-shot-only]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the source tree beside this file, installed or not
os.environ.setdefault("DETECTRON2_DATASETS", str(ROOT / "datasets"))

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from detectron2.engine import default_argument_parser  # noqa: E402
from zsseg_d2.data.panoptic_records import data_folder  # noqa: E402
from zsseg_d2.data.synthetic import ensure_minicity  # noqa: E402
from zsseg_d2 import experiments  # noqa: E402
from zsseg_d2.engine import run  # noqa: E402
from zsseg_d2.engine.segmenting import DEFAULT_CONFIG, run_segmenting  # noqa: E402

PHRASES = ("bench", "person")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default="output/demo")
    parser.add_argument("--pictures", type=int, default=6)
    parser.add_argument("--zero-shot-only", action="store_true", help="leave out the part that trains")
    args = parser.parse_args()

    start = time.perf_counter()
    steps = 3 if args.zero_shot_only else 4
    print(f"1/{steps}  MiniCity: 300 training and 50 validation scenes in Cityscapes format", flush=True)
    try:
        folder = ensure_minicity(data_folder())
    except FileExistsError as error:
        raise SystemExit(f"error: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(f"     {folder}")
    print(f"2/{steps}  Zero shot: a model that never saw these streets, with the 19 class names of Cityscapes", flush=True)
    options = ["OUTPUT_DIR", args.output, "ZSSEG.PICTURES", str(args.pictures), "SEED", "0"]
    run(
        default_argument_parser().parse_args(
            ["--config-file", "minicity/zero_shot.yaml", "--eval-only", *options]
        )
    )
    pictures = Path(args.output) / "inference" / "minicity_panoptic_val" / "pictures"
    print("\nThe pictures (image, prediction, ground truth):")
    for path in sorted(pictures.glob("*.png")):
        print(f"  {path}")
    print(f"\n3/{steps}  Phrases: what each of them means in a picture", flush=True)
    run_segmenting(
        argparse.Namespace(
            image=[str(ROOT / "docs" / "phrases_input.png")], phrase=list(PHRASES), phrase_is_given=True,
            output=str(Path(args.output) / "phrases.png"), save_masks=None, threshold=None, example=None, example_mask=None,
            config_file=DEFAULT_CONFIG, opts=[],
        )  # fmt: skip
    )
    status = 0
    if not args.zero_shot_only:
        print(
            "\n4/4  The labels of all things are deleted, and the model is fine-tuned with the rest, for a few minutes: in-class\n"
            "     fine-tuning, its map merged with the zero-shot one, and two models trained together",
            flush=True,
        )
        words = ["minicity/suite_demo.yaml", "--output", str(Path(args.output) / "methods")]
        status = experiments.main(words, tools=ROOT / "tools")
    print(f"\nDone in {time.perf_counter() - start:.0f} s. All methods over three seeds: tools/run_suite.py configs/minicity/suite.yaml")
    return status


if __name__ == "__main__":
    sys.exit(main())
