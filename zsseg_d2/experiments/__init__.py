"""Suites: many runs over several seeds, from one file to one table. Imports nothing: jobs of a suite start at once."""
