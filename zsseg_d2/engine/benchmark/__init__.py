"""Benchmarks: work of a known size on generated inputs, and its time, memory and parts."""
