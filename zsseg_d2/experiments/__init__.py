"""Suites: many runs over several seeds, from one file to one table. The program behind ``tools/run_suite.py``."""

from .program import run_suite

__all__ = ["run_suite"]
