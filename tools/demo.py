"""Show what the project does, in a few minutes; see --help."""

import os
import sys
from pathlib import Path

from _console import not_installed

ROOT = Path(__file__).resolve().parents[1]

if __name__ == "__main__":
    os.environ.setdefault("DETECTRON2_DATASETS", str(ROOT / "datasets"))
    try:
        from zsseg_d2_console import import_program
    except ModuleNotFoundError as error:
        raise SystemExit(not_installed(error)) from None
    sys.exit(import_program("demo").main(phrase_image=ROOT / "docs" / "phrases_input.png"))
