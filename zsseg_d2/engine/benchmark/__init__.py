"""Work of a known size on made-up inputs, for the benchmark program to time."""
