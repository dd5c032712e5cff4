"""Suites: many runs over several seeds, from one file to one table. The program behind ``tools/run_suite.py``."""

from .program import main

__all__ = ["main"]
