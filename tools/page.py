"""Open a page in the browser: an image and words in, named segments out; the same as ``zsseg-d2 page``; see --help."""

from _console import run

if __name__ == "__main__":
    run("page")
