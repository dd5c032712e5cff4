"""WiSE-FT: interpolate zero-shot and fine-tuned weights, θ = (1 - α)·θ_ZS + α·θ_FT, and evaluate each α.

    python tools/wise_ft.py --config-file configs/minicity/in_class_finetune.yaml \\
        --zero-shot zsseg_d2://weights/mini_fcclip.safetensors \\
        --fine-tuned output/minicity/in_class_finetune/model_final.pth [--alphas 0 0.25 0.5 0.75 1] [--save 0.5]

OUTPUT_DIR (default: a folder wise_ft in the config's) gets wise_ft.json, .md, .png (the curve), run.json, log.txt, the
evaluation of each alpha in alpha_*/, and wise_ft_*.safetensors for --save. The same command resumes an
interrupted run, and adds more alphas to an existing curve. To write weights and evaluate nothing: --alphas --save 0.5.
KEY VALUE pairs of the config stand last. Without a CUDA device, --num-gpus is the number of CPU processes.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument("--zero-shot", required=True, metavar="FILE", help="weights at alpha 0")
    parser.add_argument("--fine-tuned", required=True, metavar="FILE", help="weights or checkpoint at alpha 1")
    parser.add_argument("--alphas", nargs="*", default=list(ALPHAS), metavar="ALPHA", help="evaluate these")
    parser.add_argument(
        "--save", nargs="*", default=[], metavar="ALPHA", help="write the weights at these; default: none"
    )
    parser.add_process_arguments()
    parser.add_config_arguments("of the fine-tuning: model, test set, seen classes", required=True)
    parser.set_defaults(eval_only=True, resume=False)
    args = parser.parse_args(argv)
    for name in ("alphas", "save"):
        # argparse gives a list all the words after it: KEY VALUE pairs begin where the numbers end.
        words = getattr(args, name)
        count = next((k for k, word in enumerate(words) if not _is_number(word)), len(words))
        setattr(args, name, [float(word) for word in words[:count]])
        args.opts = [*words[count:], *args.opts]
    return args


def _is_number(word: str | float) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


@program(parse_arguments)
def main(args: argparse.Namespace) -> None:
    """Evaluate and write the curve."""
    from zsseg_d2.engine.checkpoints.wise_ft import run_wise_ft

    run_wise_ft(args)
