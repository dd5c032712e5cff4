"""Run the ``python`` blocks of Markdown files: ``run_blocks.py FOLDER FILE...``.

The package is imported once. Each file then has its own process and working folder, ``FOLDER/N``, each block its
own namespace. ``FOLDER/N.log`` gets the output, ``ran line L`` after each block, and a traceback if one fails.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(page: Path, folder: Path) -> int:
    from tests.docs.markdown import blocks

    folder.mkdir()
    for name in ("configs", "docs"):
        (folder / name).symlink_to(ROOT / name)
    os.chdir(folder)
    try:
        for block in blocks(page):
            if block.language == "python":
                code = "\n" * (block.line - 1) + block.code  # tracebacks give the line of the page
                exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
                print(f"ran line {block.line}")
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main(output: Path, pages: list[Path]) -> None:
    import zsseg_d2  # noqa: F401  (slow, and the same for all)

    for number, page in enumerate(pages):
        if os.fork() == 0:
            with open(output / f"{number}.log", "w", encoding="utf-8") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
                os._exit(run(page, output / str(number)))
        os.wait()


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
