"""Training sets in which predictions of a zero-shot model replace deleted labels."""
