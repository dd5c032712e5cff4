"""Run the ``python`` blocks of a Markdown file, each in a namespace of its own: ``run_blocks.py FILE``."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.docs.markdown import blocks

    page = Path(sys.argv[1])
    for block in blocks(page):
        if block.language == "python":
            code = "\n" * (block.line - 1) + block.code  # tracebacks give the line of the page
            exec(compile(code, str(page), "exec"), {"__name__": "__main__"})
            print(f"ran line {block.line}")
