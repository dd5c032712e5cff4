"""A module of the user is imported by the programs and by nothing else."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

import pytest

import zsseg_d2_console
from zsseg_d2.plugins import load_plugins


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    path = tmp_path / "my_rule.py"
    path.write_text(
        "from zsseg_d2.modeling.fusion import FUSIONS, SoftmaxSum\n"
        "@FUSIONS.register_as('from_a_plugin')\n"
        "class Mine(SoftmaxSum): ...\n"
    )
    monkeypatch.setenv("ZSSEG_D2_PLUGINS", f" {path} ,")
    yield path
    from zsseg_d2.modeling.fusion import FUSIONS

    FUSIONS._obj_map.pop("from_a_plugin", None)
    sys.modules.pop("zsseg_d2_plugin_my_rule", None)


def test_a_file_is_imported_once(plugin):
    from zsseg_d2.modeling.fusion import FUSIONS

    assert load_plugins() == load_plugins() == [str(plugin)]
    assert "from_a_plugin" in FUSIONS


def test_a_fusion_of_a_plugin_is_accepted_by_the_config(plugin):
    from zsseg_d2.engine import setup_cfg

    options = ["ZSSEG.FUSION.NAME", "from_a_plugin"]
    cfg = setup_cfg(Namespace(config_file="minicity/combined_entropy.yaml", opts=options))
    assert cfg.ZSSEG.FUSION.NAME == "from_a_plugin"


@pytest.mark.parametrize("entry", ["no_such_module", "missing.py"])
def test_a_missing_module_is_named(monkeypatch, tmp_path, entry):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZSSEG_D2_PLUGINS", entry)
    with pytest.raises(ImportError, match=f"ZSSEG_D2_PLUGINS={entry}: cannot be imported"):
        load_plugins()


def test_nothing_is_imported_without_the_variable(monkeypatch):
    monkeypatch.delenv("ZSSEG_D2_PLUGINS", raising=False)
    assert load_plugins() == []


def test_every_program_imports_what_the_command_line_names(tmp_path, monkeypatch):
    """Also the processes that it starts, which inherit the variable."""
    monkeypatch.setenv("ZSSEG_D2_PLUGINS", "json")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "named.py").write_text("NAMED = True\n")
    with pytest.raises(SystemExit, match="^error: There is no file of weights"):
        zsseg_d2_console.main(["export-weights", "--import", "named.py", "--import", "csv", "none.pth", "out"])
    assert sys.modules.pop("zsseg_d2_plugin_named").NAMED
    assert os.environ["ZSSEG_D2_PLUGINS"] == f"json,{tmp_path / 'named.py'},csv"
    with pytest.raises(SystemExit, match="^error: --import no_such_module: cannot be imported .* Fix: name a module"):
        zsseg_d2_console.main(["export-weights", "--import", "no_such_module", "none.pth", "out"])


def test_a_config_file_names_no_module(tmp_path):
    from zsseg_d2.engine import ConfigError, setup_cfg

    (tmp_path / "c.yaml").write_text("IMPORT: evil.py\n")
    with pytest.raises(ConfigError, match="unknown config key 'IMPORT'"):
        setup_cfg(Namespace(config_file=str(tmp_path / "c.yaml"), opts=[]))
