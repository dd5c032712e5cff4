"""The last line of the demonstration can be copied and run."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from zsseg_d2.cli import demo


def test_the_last_line_names_programs_that_are_there(monkeypatch):
    root = Path(__file__).resolve().parents[1]
    monkeypatch.setattr(sys, "argv", [str(root / "tools" / "demo.py")])
    python, program, suite = shlex.split(demo.next_command())
    assert python == sys.executable and Path(program).is_file() and (root / "configs" / suite).is_file()
