"""What importing the package loads."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["zsseg_d2", "zsseg_d2.data", "zsseg_d2.data.phrasecut.phrase_mapper"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert module in loaded
    heavy = ("zsseg_d2.data.synthetic", "scipy.ndimage", "cityscapesscripts", "matplotlib.pyplot")
    assert [name for name in loaded if name.startswith(heavy)] == []
