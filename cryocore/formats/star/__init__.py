"""STAR files of particles: read the table; write filters and edits of it that keep every other byte.

Lines are found once, on the bytes of the file. Values are read from those lines, and a filter copies them, so that a
row of the table and a line of the file can never part. A file is UTF-8 text with ``\\n`` or ``\\r\\n`` line ends;
values are separated by blanks and tabs, and a value may hold spaces between double or single quotes. A ``#`` starts
a comment only where a line begins with it, because image paths may contain it.

Read: RELION <= 3.0 (one block of any name) and >= 3.1 (``data_optics`` and ``data_particles``); loops and single rows
written as ``_label value`` lines; labels with or without ``#n`` and whatever follows it.
"""

from __future__ import annotations

from cryocore.formats.star.layout import IMAGE_NAME
from cryocore.formats.star.read import StarTables, read_star
from cryocore.formats.star.write import edit_star, filter_star

__all__ = ["IMAGE_NAME", "StarTables", "edit_star", "filter_star", "read_star"]
