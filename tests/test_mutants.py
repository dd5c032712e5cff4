"""The mutants of `make mutants` fit the code, and the program tells those that are noticed from the others."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from tests.mutants import run as program
from tests.mutants.run import Mutant, judge, load_mutants, mutated, problems


def test_every_mutant_changes_one_place_and_names_tests():
    mutants = load_mutants()
    assert len(mutants) > 100 and not problems(mutants), "\n".join(problems(mutants))
    assert all(m.tests and m.file.startswith("zsseg_d2/") for m in mutants)


@pytest.fixture
def tree(tmp_path):
    """A tree of one module and its test, and a mutant of it."""
    (tmp_path / "code.py").write_text("def double(x):\n    return x + x\n")
    (tmp_path / "test_code.py").write_text("def test_double():\n    pass\n")
    return tmp_path, Mutant("sum", "code.py", "x + x", "x * x", ("test_code.py::test_double",))


def test_what_does_not_fit_is_told(tree):
    root, good = tree
    assert not problems([good], root)
    for change, told in (
        ({"old": "x - x"}, "occurs 0 times in code.py"),
        ({"old": "x"}, "occurs 3 times"),
        ({"file": "none.py"}, "occurs 0 times in none.py"),
        ({"new": "x + x"}, "are the same"),
        ({"tests": ("test_code.py::test_triple",)}, "no test test_code.py::test_triple"),
        ({"tests": ("test_none.py",)}, "no test test_none.py"),
    ):
        (line,) = problems([replace(good, **change)], root)
        assert told in line


def test_a_mutant_is_applied_and_taken_back(tree):
    root, mutant = tree
    before = (root / "code.py").read_text()
    with mutated(root, mutant):
        assert (root / "code.py").read_text() == before.replace("x + x", "x * x")
    assert (root / "code.py").read_text() == before


@pytest.mark.parametrize(
    ("status", "verdict"), [(0, "survived"), (1, "killed"), (2, "broken"), (4, "broken"), (5, "broken")]
)
def test_verdicts_follow_pytests_exit_codes(status, verdict):
    child = os.fork()
    if not child:
        os._exit(status)
    assert judge(os.waitpid(child, 0)[1]) == verdict


def test_a_name_is_used_once(tmp_path):
    entry = '[[mutant]]\nname = "a"\nfile = "f"\nold = "o"\nnew = "n"\ntests = []\n'
    (tmp_path / "a.toml").write_text(entry + entry)
    with pytest.raises(ValueError, match="two are called 'a'"):
        load_mutants(tmp_path)


def test_an_unknown_selection_is_refused(capsys):
    assert program.main(["--only", "no such mutant"]) == 2
    assert "there is no such mutant" in capsys.readouterr().err
