"""Train and evaluate.

    python tools/train_net.py --config-file configs/minicity/zero_shot.yaml --eval-only
    python tools/train_net.py --config-file configs/minicity/full_finetune.yaml SOLVER.MAX_ITER 300 OUTPUT_DIR output/mine
    python tools/train_net.py --config-file configs/minicity/full_finetune.yaml --resume

Without a CUDA device, --num-gpus is the number of CPU processes. Results are in OUTPUT_DIR: log.txt, config.yaml,
run.json, metrics.json, model_*.pth and inference/<data set>/panoptic_quality.json.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from detectron2.engine import default_argument_parser  # noqa: E402
from zsseg_d2.engine import run  # noqa: E402

if __name__ == "__main__":
    parser = default_argument_parser(epilog=__doc__)
    parser.description = "Train or evaluate an open-vocabulary segmentation model."
    parser.add_argument("--save-predictions", action="store_true", help="the same as ZSSEG.SAVE_PREDICTIONS True")
    args = parser.parse_args()
    args.opts = [*args.opts, *(["ZSSEG.SAVE_PREDICTIONS", "True"] if args.save_predictions else [])]
    run(args)
