"""Files of particles: RELION's STAR, cryoSPARC's ``.cs`` and THUNDER's ``.thu``, distinguished by their suffix.

All are read under RELION's labels, so that what follows knows one set of names and units; a selection is written as its
parent file without the rows that are dropped.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from cryocore.errors import InputError
from cryocore.formats.foreign import identify
from cryocore.tables.io import atomic_path

if TYPE_CHECKING:  # pandas takes a third of a second that rules and replays do without
    from cryocore.formats.star import StarTables
    from cryocore.formats.star.write import Values
    from cryocore.types import Bools

Kind = Literal["star", "cs", "thu"]
HALF_SET = "rlnRandomSubset"
CTF_COLUMNS = {"ctf_bfactor": "rlnCtfBfactor", "ctf_scale": "rlnCtfScalefactor"}
"""Columns of a table of particles that say how their signal falls off -> those of a STAR file."""
PARTICLE_ID = "cryocoreParticleId"
"""The column of ids in a STAR file whose ids are not those that the names of its images give."""
TITLES: dict[Kind, str] = {"star": "RELION STAR file", "cs": "cryoSPARC file", "thu": "THUNDER file"}


def kind_of(path: str | Path) -> Kind:
    """The kind of a file of particles, by its suffix; what is neither ``.cs`` nor ``.thu`` is a STAR file.

    >>> kind_of("J42/particles_selected.cs"), kind_of("run_data.star")
    ('cs', 'star')
    """
    match Path(path).suffix.lower():
        case ".cs":
            return "cs"
        case ".thu":
            return "thu"
        case _:
            return "star"


def require_format(path: str | Path) -> None:
    """Refuse a name whose suffix is of none of the formats; a file of another program is called by its name."""
    if Path(path).suffix.lower() not in (".star", ".cs", ".thu"):
        found = identify(path) if Path(path).is_file() else None
        if found is not None and found.kind not in ("star", "text"):
            raise InputError(f"it is {found.name}", file=path, fix=found.fix)
        problem = "its suffix names no format of particles"
        raise InputError(problem, file=path, fix="Give a file that ends in .star, .cs or .thu")


def require_other_file(out: str | Path, *sources: str | Path) -> None:
    """Refuse to write over a file that is read."""
    if any(Path(out).resolve() == Path(source).resolve() for source in sources):
        raise InputError("it would be written over itself", file=out, fix="Give another name to write to")


def read_tables(path: str | Path, passthrough: str | Path | None = None) -> StarTables:
    """Read the particles of a file of any kind; ``passthrough`` adds fields to a ``.cs`` file.

    Raises
    ------
    InputError  if the file cannot be read.
    """
    match kind_of(path):
        case "cs":
            from cryocore.formats.cs import read_cs

            return read_cs(path, passthrough)
        case "thu":
            from cryocore.formats.thu import read_thu

            return read_thu(path)
        case _:
            from cryocore.formats.star import read_star

            return read_star(path)


def filter_particles(
    parent: str | Path, keep: Bools, extra: Mapping[str, Values], out: str | Path, root: str | None = None
) -> None:
    """Write the particles of ``parent`` that ``keep`` ``(n,)`` says, in its own format.

    Lines of STAR and ``.thu`` files stay byte for byte, rows of ``.cs`` files keep all their fields. A STAR file takes
    all of the ``extra`` columns, a ``.cs`` file the half sets, B-factors and scales among them, a ``.thu`` file none.
    What is written names the directory that image paths start from: ``root``, else that which ``parent`` names
    (:mod:`cryocore.formats.roots`).

    Raises
    ------
    InputError  if ``parent`` does not have n particles any more, or ``out`` is of another kind.
    """
    if kind_of(out) != kind_of(parent):
        problem = f"the particles stay in the format of {parent}"
        raise InputError(problem, file=out, fix="End both names alike; cryocore convert changes the format")
    match kind_of(parent):
        case "cs":
            import numpy as np

            from cryocore.formats.cs import filter_cs

            half, *envelopes = (
                None if extra.get(label) is None else np.asarray(extra[label])
                for label in (HALF_SET, *CTF_COLUMNS.values())
            )
            filter_cs(parent, keep, out, root, half, *envelopes)
        case "thu":
            from cryocore.formats.thu import filter_thu

            filter_thu(parent, keep, out, root)
        case _:
            from cryocore.formats.star import filter_star

            filter_star(parent, keep, extra, out, root)


def copy_particles(parent: str | Path, out: str | Path, root: str | None = None) -> None:
    """Copy a file of particles; the copy names where its image paths start from, as :func:`filter_particles` does."""
    from cryocore.formats.roots import record, without_record

    with atomic_path(out) as temporary:
        if kind_of(out) == "cs":
            shutil.copyfile(parent, temporary)
        else:
            temporary.write_bytes(record(root, parent, out) + without_record(Path(parent).read_bytes()))
    if kind_of(out) == "cs":
        from cryocore.formats.cs import origin_of
        from cryocore.formats.csg import write_group

        write_group(out, root, parent, origin_of(parent))
