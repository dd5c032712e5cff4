"""What importing the package loads."""

from __future__ import annotations

import subprocess
import sys


def test_importing_loads_no_renderer_and_no_rarely_used_library():
    code = "import sys, zsseg_d2, zsseg_d2.data.phrasecut.phrase_mapper; print('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "zsseg_d2.data.families" in loaded
    heavy = ("zsseg_d2.data.synthetic", "scipy.ndimage", "cityscapesscripts", "open_clip", "timm", "transformers")
    assert [name for name in loaded if name.startswith(heavy)] == []
