"""The error that every reader and writer of dataset files raises."""


class DatasetError(ValueError):
    """A problem with the files or the registration of a dataset; the message names the file and the remedy."""
