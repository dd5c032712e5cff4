"""Slow, plain forms of what the package does fast: references of the tests and of the benchmark."""
