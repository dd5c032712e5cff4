"""The error that every reader and writer of dataset files raises."""

from ..reading import printable


class DatasetError(ValueError):
    """A problem with the files or the registration of a dataset; the message names the file and the remedy.

    Control characters of the message are escaped: names that come from files could rewrite the lines of a terminal.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
