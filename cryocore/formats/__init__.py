"""Files of other programs, read and written: STAR, ``.cs`` and ``.thu`` tables, stacks of images."""

BATCH_BYTES = 1 << 25
"""Of the images that are at work together, at most."""
