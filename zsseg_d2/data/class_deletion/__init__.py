"""Class-deleted copies of datasets, written to disk."""
