"""Time and peak memory of panoptic inference on one random image, with random weights: anyone can run it.

    python tools/benchmark.py --config-file configs/cityscapes/zero_shot_r50.yaml --height 512 --width 1024
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the source tree beside this file, installed or not

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
import zsseg_d2  # noqa: E402, F401  (before Detectron2, which it makes importable)
from detectron2.modeling import build_model  # noqa: E402
from zsseg_d2.engine import setup_cfg  # noqa: E402


@torch.no_grad()
def make_nothing_void(model: torch.nn.Module, image: torch.Tensor) -> None:
    """Random weights may call every query void, and no mask would be upsampled: void becomes the queries' opposite."""
    ((_, images),) = model.padded_batches([{"image": image}])
    (queries,), _ = model.sem_seg_head(model.backbone(images), every_layer=False)
    model.void_embedding.weight.copy_(-F.normalize(queries.class_embed[0], dim=-1).mean(0, keepdim=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config-file", default="configs/cityscapes/zero_shot_r50.yaml")
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="KEY VALUE pairs")
    args = parser.parse_args()
    args.opts = ["MODEL.WEIGHTS", "", "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS", "", *args.opts]

    cfg = setup_cfg(args, check=False)
    torch.manual_seed(0)
    model = build_model(cfg).eval()
    image = torch.randint(0, 256, (3, args.height, args.width), dtype=torch.uint8)
    start = time.perf_counter()
    model.text_rows(model.classes(None).vocabulary)
    text_seconds = time.perf_counter() - start
    make_nothing_void(model, image)
    queries = model.sem_seg_head.predictor.query_feat.num_embeddings
    seconds = []
    for _ in range(args.repeat):
        start = time.perf_counter()
        (result,) = model([{"image": image}])
        seconds.append(time.perf_counter() - start)
    report = {
        "config": args.config_file,
        "size": [args.height, args.width],
        "text_rows_seconds": round(text_seconds, 3),
        "seconds_median": round(statistics.median(seconds), 3),
        "seconds": [round(s, 3) for s in seconds],
        "peak_memory_gb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "threads": torch.get_num_threads(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "map_size": list(result["panoptic_seg"][0].shape),
        "queries": queries,
        "segments": len(result["panoptic_seg"][1]),
    }
    if args.json:
        print(json.dumps(report))
        return
    for key, value in report.items():
        print(f"{key:>18}: {value}")


if __name__ == "__main__":
    main()
