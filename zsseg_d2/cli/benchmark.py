"""Time what is fast here against its plain form: seconds and peak memory, in turns, each form in a process of its own.

    python tools/benchmark.py                                      every row: some 15 minutes and 16 GB on two cores
    python tools/benchmark.py --rows inference-512 text-rows --repeat 5
    python tools/benchmark.py --rows inference-512 training-step --parts             where their time goes
    python tools/benchmark.py --rows inference-1024 --no-plain --batch 4 \\
        --config-file configs/cityscapes/zero_shot.yaml configs/towers/convnext_large.yaml

Weights are random and images generated: nothing is downloaded. The plain forms are in tests/plain of the repository;
tests compare the fast ones with them. KEY VALUE pairs change the config of the rows that build a model.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from zsseg_d2.cli.arguments import ArgumentParser
from zsseg_d2.cli.program import program

ROWS = (
    *("inference-1024", "inference-512", "inference-1024-bf16", "inference-512-bf16", "text-rows", "deformable"),
    *("deformable-backward", "training-step", "combined-step", "evaluation", "deletion", "deletion-nine"),
    *("phrase-masks", "compiled-pixel-decoder", "compiled-query-decoder", "mapper"),
)
"""Names of :data:`zsseg_d2.engine.benchmark.rows.ROWS`, which needs torch."""
WITH_PARTS = [*(name for name in ROWS if name.startswith("inference")), "training-step"]


def parse_arguments(argv: Sequence[str] | None = None, prog: str | None = None) -> argparse.Namespace:
    parser = ArgumentParser(__doc__, prog)
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS, metavar="NAME", help=f"of {', '.join(ROWS)}; default: all but compiled-…"
    )
    parser.add_argument("--repeat", type=int, default=3, help="timed calls of each form, after one that is not timed")
    parser.add_argument("--no-plain", action="store_true", help="without what the rows are compared with")
    parser.add_argument("--batch", type=int, default=1, help="images of inference")
    parser.add_argument("--parts", action="store_true", help="instead: where the time goes, in rows that run a model")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_config_arguments("of the rows that build a model; default: FC-CLIP R50 on Cityscapes")
    args = parser.parse_args(argv)
    args.rows = args.rows or (WITH_PARTS if args.parts else [name for name in ROWS if not name.startswith("compiled-")])
    if args.parts and not set(args.rows) <= set(WITH_PARTS):
        parser.error(f"--parts is for {', '.join(WITH_PARTS)}")
    if args.repeat < 1 or args.batch < 1:
        parser.error("--repeat and --batch must be positive")
    return args


@program(parse_arguments)
def main(args: argparse.Namespace) -> int:
    """Measure the rows, and print a table or JSON."""
    from zsseg_d2.cli.benchmark_rows import run_benchmark

    return run_benchmark(args)
