"""Log lines of several runs in one Python process."""

import logging

import pytest

from zsseg_d2.engine.log_files import _LOGGERS, log_to, stop_logging


@pytest.fixture(autouse=True)
def handlers():
    kept = {name: list(logging.getLogger(name).handlers) for name in _LOGGERS}
    yield
    for name, before in kept.items():
        logging.getLogger(name).handlers[:] = before


def test_each_run_writes_its_own_log_and_each_line_once(tmp_path, capsys):
    for number, folder in enumerate(("first", "second", "first")):
        (tmp_path / folder).mkdir(exist_ok=True)
        log_to(tmp_path / folder)
        logging.getLogger("zsseg_d2.somewhere").info("line %d", number)
    log_to(None)
    logging.getLogger("zsseg_d2.somewhere").info("line 3")
    for handler in logging.getLogger("zsseg_d2").handlers:
        handler.flush()

    printed = capsys.readouterr().out
    assert [printed.count(f"line {number}") for number in range(4)] == [1, 1, 1, 1]
    written = {name: (tmp_path / name / "log.txt").read_text() for name in ("first", "second")}
    assert [line.split(": ")[-1] for line in written["first"].splitlines()] == ["line 0", "line 2"]
    assert [line.split(": ")[-1] for line in written["second"].splitlines()] == ["line 1"]


def test_handlers_of_others_stay():
    other = logging.NullHandler()
    logging.getLogger("zsseg_d2").addHandler(other)
    log_to(None)
    log_to(None)
    assert other in logging.getLogger("zsseg_d2").handlers


def test_loggers_are_left_as_they_were(tmp_path):
    """Otherwise details of a later program, such as the traceback behind a message, reach the terminal."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for level, propagate in ((logging.ERROR, True), (logging.NOTSET, False), (logging.NOTSET, True)):
        for logger in loggers:
            logger.setLevel(level)
            logger.propagate = propagate
        log_to(tmp_path)
        log_to(None)
        assert {(logger.level, logger.propagate) for logger in loggers} == {(logging.DEBUG, False)}
        stop_logging()
        assert {(logger.level, logger.propagate) for logger in loggers} == {(level, propagate)}
