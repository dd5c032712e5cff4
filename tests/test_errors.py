"""The boundary of all programs: one ``error:`` line for what the user can fix, tracebacks for bugs and --debug."""

from __future__ import annotations

import errno
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch.utils.data import DataLoader

import zsseg_d2_console
from zsseg_d2.data.errors import DatasetError
from zsseg_d2.engine.errors import CheckpointError, ConfigError, explanation, one_line_errors
from zsseg_d2.folder_lock import FolderInUse
from zsseg_d2.plugins import PluginError
from zsseg_d2.reading import UnusableFile

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted({target.split(":")[0] for target, _ in zsseg_d2_console.COMMANDS.values()} | {"demo"})


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ConfigError("SEED=x: no number. Fix: give one"), "SEED=x: no number. Fix: give one"),
        (CheckpointError("a.pth: damaged"), "a.pth: damaged"),
        (DatasetError("a.png: cut off"), "a.png: cut off"),
        (UnusableFile("a.json: is a folder"), "a.json: is a folder"),
        (FolderInUse("out: in use"), "out: in use"),
        (PluginError("--import x: none"), "--import x: none"),
        (FileExistsError("'w' exists already"), "'w' exists already"),
        (
            OSError(errno.ENOSPC, "No space left on device", "out/a.pth"),
            "out/a.pth: No space left on device. Fix: free some space, or write to another folder",
        ),
        (OSError(errno.EROFS, "Read-only file system", "a"), "a: Read-only file system. Fix: write to another folder"),
        (OSError(errno.ENOSPC, "No space"), "No space. Fix: free some space, or write to another folder"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "[Errno 18] Invalid link: 'a' -> 'b'"),
        (PermissionError(13, "Denied", "a"), "a: Denied. Fix: change its permissions, or name another path"),
        (IsADirectoryError(21, "Is one", "a\x1b[2K\nb"), "a\\x1b[2K b: Is one. Fix: a folder stands where a file is "
         "needed; name another path"),
        (ConfigError("two\n  lines"), "two lines"),
        (TimeoutError(), "TimeoutError"),
    ],
)  # fmt: skip
def test_explanations(error, line):
    assert explanation(error) == line


@pytest.mark.parametrize("bug", [ValueError("x"), KeyError("x"), RuntimeError("x"), AssertionError(), TypeError("x")])
def test_bugs_have_no_explanation(bug):
    assert explanation(bug) is None
    with pytest.raises(type(bug)), one_line_errors():
        raise bug


def test_memory_and_depth():
    for error in (
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
        torch.OutOfMemoryError("CUDA out of memory."),
    ):
        assert explanation(error).startswith("There is not enough memory. Fix: ")
    with pytest.raises(RuntimeError) as real:
        torch.empty(2**55)
    assert explanation(real.value).startswith("There is not enough memory. Fix: ")


def test_errors_of_pathlib(tmp_path):
    with pytest.raises(RuntimeError) as real:
        Path("~nobody-of-this-name/a").expanduser()
    assert explanation(real.value).endswith("home directory. Fix: write a path that begins with ~ in full")


def test_links_that_lead_back_to_themselves(tmp_path):
    """Before Python 3.13 ``resolve`` raises an error of its own."""
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises((RuntimeError, OSError)) as real:
        (tmp_path / "loop").resolve().read_bytes()
    told = explanation(real.value)
    assert f"{tmp_path}/loop" in told and told.endswith(". Fix: its symbolic links lead back to themselves; mend them")


def recurse():
    return recurse()


@pytest.mark.parametrize("read", [json.loads, yaml.safe_load])
def test_a_file_that_is_nested_too_deeply(read):
    with pytest.raises(RecursionError) as real:
        read("[" * 10**5)
    assert "nested too deeply" in explanation(real.value)


def test_recursion_of_the_program_is_a_bug():
    with pytest.raises(RecursionError) as real:
        recurse()
    assert explanation(real.value) is None
    with pytest.raises(RecursionError) as real, one_line_errors():
        recurse()


def test_a_full_disk_under_torch_save():
    with pytest.raises((OSError, RuntimeError)) as real:
        torch.save({"model": torch.zeros(10**6)}, "/dev/full")
    assert "Fix: free some space, or write to another folder" in explanation(real.value)


class Damaged(torch.utils.data.Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, _):
        try:
            raise OSError("inner")
        except OSError as error:
            raise UnusableFile("a.png: cut off. Fix: copy it again") from error


def test_the_error_of_a_worker_is_its_own_line():
    with pytest.raises(UnusableFile) as real:
        next(iter(DataLoader(Damaged(), num_workers=1)))
    assert "Traceback" in str(real.value)
    assert explanation(real.value) == "a.png: cut off. Fix: copy it again"


def test_the_boundary():
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise OSError(errno.ENOSPC, "No space left on device", "a")
    assert stop.value.code == "error: a: No space left on device. Fix: free some space, or write to another folder"
    with pytest.raises(OSError), one_line_errors(debug=True):
        raise OSError(errno.ENOSPC, "No space left on device", "a")
    with pytest.raises(SystemExit) as stop, one_line_errors():
        raise KeyboardInterrupt
    assert stop.value.code == 130
    with pytest.raises(SystemExit, match="^error: Broken pipe$"), one_line_errors():
        raise BrokenPipeError("Broken pipe")  # to a worker, say: standard output is still read


@pytest.mark.parametrize("name", MODULES)
def test_every_program_has_the_boundary(name):
    tool = importlib.import_module(f"zsseg_d2.cli.{name}")
    assert isinstance(tool.main, importlib.import_module("zsseg_d2.cli.program").Program)


def test_help_of_every_program_and_wrong_arguments_need_no_torch():
    code = (
        "import sys, zsseg_d2_console\n"
        f"for name in {MODULES}:\n"
        "    for words in (['--help'], ['--no-such-option']):\n"
        "        try:\n"
        "            zsseg_d2_console.import_program(name).main(words)\n"
        "        except SystemExit as stop:\n"
        "            print('exit', stop.code)\n"
        "        assert not {'torch', 'detectron2', 'numpy'} & set(sys.modules), name\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for told in ("exit 0", "  --debug ", "  --import MODULE_OR_FILE", "exit status: 0 done; 1 something that can be"):
        assert done.stdout.count(told) == len(MODULES), told
    # prepare_phrasecut and combined_weights name the missing subcommand first
    assert done.stdout.count("exit 2") == len(MODULES)


def test_names_in_the_parsers_are_those_of_the_package():
    """Parsers may not import what they name, since that needs torch."""
    from detectron2.config import get_cfg

    from zsseg_d2 import add_zsseg_config
    from zsseg_d2.cli import arguments, benchmark, image_arguments, prepare_phrasecut, wise_ft
    from zsseg_d2.data import CONFIGURATIONS, PANOPTIC_FAMILIES
    from zsseg_d2.data.images.opening import LARGEST_MAX_PIXELS, MAX_PIXELS
    from zsseg_d2.data.images.reading import EXIF_RULES, ImageRules
    from zsseg_d2.data.phrasecut.folder import SPLITS
    from zsseg_d2.engine.benchmark.rows import ROWS
    from zsseg_d2.engine.prediction.phrase_segmentation import DEFAULT_CONFIG

    assert (image_arguments.MAX_PIXELS, image_arguments.LARGEST_MAX_PIXELS) == (MAX_PIXELS, LARGEST_MAX_PIXELS)
    assert set(image_arguments.EXIF_RULES) == set(EXIF_RULES) and image_arguments.EXIF_RULES[0] == ImageRules.exif
    cfg = get_cfg()
    add_zsseg_config(cfg)
    assert set(cfg) == arguments.CONFIG_ROOTS
    assert list(ROWS) == list(benchmark.ROWS)
    assert {name for name, row in ROWS.items() if row.by_name} == {n for n in ROWS if n.startswith("compiled-")}
    assert prepare_phrasecut.SPLITS == SPLITS
    assert wise_ft.ALPHAS == (0, 0.25, 0.5, 0.75, 1)
    assert list(CONFIGURATIONS) == [f"00{k}" for k in range(9)]
    sources = {name: (ROOT / "zsseg_d2" / "cli" / f"{name}.py").read_text() for name in ("delete_classes", "segment")}
    panoptic = [name for name, family in PANOPTIC_FAMILIES.items() if not family.semantic]
    assert all(name in sources["delete_classes"] for name in panoptic)
    assert DEFAULT_CONFIG in sources["segment"]


def run(*words, **more):
    command = [sys.executable, "-m", "zsseg_d2_console", *map(str, words)]
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    return subprocess.run(command, text=True, cwd=ROOT, stderr=subprocess.PIPE, timeout=120, env=environment, **more)


def test_debug_shows_the_traceback(tmp_path, capsys):
    words = ["export-weights", str(tmp_path / "none.pth"), str(tmp_path / "out.safetensors")]
    with pytest.raises(SystemExit, match="^error: There is no file of weights .*none.pth") as stop:
        zsseg_d2_console.main(words)
    assert "\n" not in stop.value.code
    with pytest.raises(CheckpointError):
        zsseg_d2_console.main([*words, "--debug"])


@pytest.mark.parametrize("words", [["--help"], ["train", "--help"]])
def test_a_broken_pipe_ends_quietly(words):
    reader, writer = os.pipe()
    os.close(reader)
    done = run(*words, stdout=writer)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_broken_pipe_while_a_program_works():
    reader, writer = os.pipe()
    os.close(reader)
    pid = os.fork()
    if pid == 0:
        os.dup2(writer, 1)
        sys.stdout = os.fdopen(1, "w")
        try:
            with one_line_errors():
                print("a result", flush=True)
        except SystemExit as stop:
            os._exit(stop.code)
        os._exit(7)
    os.close(writer)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 141
