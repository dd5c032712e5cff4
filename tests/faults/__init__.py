"""Fault injection: what the programs do with damaged files, kills, full disks and odd config values.

``python -m tests.faults --help`` runs any number of cases; ``tests/test_faults.py`` runs a few of each kind.
"""
