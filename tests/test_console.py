"""The console command and the scripts of tools/: the same programs, fast help, and one message without the package."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

import zsseg_d2_console
from zsseg_d2.cli.arguments import ArgumentParser, split_config_files

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = sorted(path.stem for path in (ROOT / "tools").glob("*.py") if not path.stem.startswith("_"))


def test_help_imports_neither_torch_nor_the_package():
    code = (
        "import sys, zsseg_d2_console\n"
        "assert zsseg_d2_console.main(['--help']) == 0\n"
        "assert not {'torch', 'zsseg_d2', 'detectron2'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert all(f"  {command} " in done.stdout for command in zsseg_d2_console.COMMANDS)


@pytest.mark.parametrize("command", zsseg_d2_console.COMMANDS)
def test_every_command_has_a_program_with_help(command, capsys):
    name, function = zsseg_d2_console.COMMANDS[command][0].split(":")
    assert callable(getattr(importlib.import_module(f"zsseg_d2.cli.{name}"), function))
    assert name in SCRIPTS
    with pytest.raises(SystemExit) as stop:
        zsseg_d2_console.main([command, "--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0 and f"usage: zsseg-d2 {command}" in told and f"tools/{name}.py" in told


def test_every_script_has_a_command():
    programs = {target.split(":")[0] for target, _ in zsseg_d2_console.COMMANDS.values()}
    assert programs == set(SCRIPTS) - {"demo"}


def test_unknown_commands_are_refused(capsys):
    assert zsseg_d2_console.main(["trian"]) == 2
    assert "no command 'trian'. Did you mean train?" in capsys.readouterr().err


def test_evaluate_adds_the_flag(monkeypatch):
    from zsseg_d2 import engine

    seen = []
    monkeypatch.setattr(engine, "run", seen.append)
    zsseg_d2_console.main(["evaluate", "--config-file", "a.yaml", "b.yaml", "SEED", "3", "--x"])
    assert (seen[0].eval_only, seen[0].config_file, seen[0].opts) == (True, ["a.yaml", "b.yaml"], ["SEED", "3", "--x"])


@pytest.mark.parametrize(
    ("words", "files", "options"),
    [
        ("--config-file a b.yaml c.yml SEED 1", ["a", "b.yaml", "c.yml"], ["SEED", "1"]),
        ("--config-file a.yaml --config-file b.yaml", ["a.yaml", "b.yaml"], []),
        ("--config-file=a.yaml b.yaml --flag SEED x.yaml", ["a.yaml", "b.yaml"], ["SEED", "x.yaml"]),
        ("--config-file a.yaml MODEL.WEIGHTS x.yaml", ["a.yaml"], ["MODEL.WEIGHTS", "x.yaml"]),
        ("SEED 1", [], ["SEED", "1"]),
    ],
)
def test_several_config_files_on_the_command_line(words, files, options):
    parser = ArgumentParser("A program.", "program")
    parser.add_argument("--flag", action="store_true")
    parser.add_config_arguments("config")
    args = parser.parse_args(words.split())
    assert (args.config_file, args.opts) == (files, options)
    assert split_config_files(split_config_files(words.split())) == split_config_files(words.split())


def test_a_missing_config_file_is_an_error_of_usage(capsys):
    parser = ArgumentParser("A program.", "program")
    parser.add_argument("--flag", action="store_true")
    parser.add_config_arguments("config")
    for words in (["--config-file"], ["--config-file", "--flag"]):
        with pytest.raises(SystemExit):
            parser.parse_args(words)
        assert "expected one argument" in capsys.readouterr().err


def test_scripts_without_the_package_say_what_to_do(tmp_path):
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    for name in ("train_net", "demo"):
        done = subprocess.run([python, ROOT / "tools" / f"{name}.py"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 1 and done.stderr.startswith("error: zsseg_d2 is not installed for this Python. Fix:")
        assert len(done.stderr.splitlines()) == 1
