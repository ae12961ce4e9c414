"""The class of particles that is read, of a file that has several."""

from __future__ import annotations

import logging

import numpy as np

from cryocore.errors import InputError
from cryocore.formats.kinds import kind_of
from cryocore.formats.star import StarTables
from cryocore.formats.star.read import to_numbers
from cryocore.ingest.columns import columns_of

log = logging.getLogger(__name__)

CLASS = "rlnClassNumber"
LISTED = 12
"""Most classes that are listed."""


def of_class(tables: StarTables, number: int | None) -> StarTables:
    """The particles of a class, counted as the file counts: from 1 in STAR files, from 0 in others; None: all of them.

    All particles of several classes are one map, and the log says so.

    Raises
    ------
    InputError  if the file has no classes, or not that one.
    """
    path = tables.path
    before = 0 if kind_of(path) == "star" else 1  # the label counts from 1
    label = tables.names.get(CLASS, CLASS)
    if CLASS not in tables.particles:
        if number is None:
            return tables
        raise InputError("the particles are in no classes", file=path, column=label, fix="Leave input.class out")
    values = to_numbers(tables.particles[CLASS]) if number is None else columns_of(tables).numbers(CLASS)
    found, counts = np.unique(values[np.isfinite(values)] - before, return_counts=True)
    listed = ", ".join(f"{c:g}: {n}" for c, n in zip(found[:LISTED], counts[:LISTED], strict=True))
    listed += ", ..." if len(found) > LISTED else ""
    if number is None:
        if len(found) > 1:
            message = "%s: %s has %d classes (%s particles): one map is made of all of them; input.class chooses one"
            log.warning(message, path, label, len(found), listed)
        return tables
    index = np.flatnonzero(values - before == number)
    if not len(index):
        problem = f"no particle is of class {number}; there are (class: particles) {listed}"
        raise InputError(problem, file=path, column=label, fix="Set input.class to one of them")
    log.info("%s: %d of %d particles are of class %d", path, len(index), len(tables), number)
    return tables.take(index)
