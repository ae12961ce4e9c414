"""Files of other programs, read and written: STAR, ``.cs`` and ``.thu`` tables, stacks of images."""
