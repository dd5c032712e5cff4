"""PhraseCut and datasets in its layout: phrases and the masks they refer to."""
