"""Result groups: the ``.csg`` file by which cryoSPARC's job Import Result Group takes up a ``.cs`` file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cryocore.formats.records import read_shape
from cryocore.formats.roots import record, record_origin
from cryocore.tables.io import atomic_path

CREATED = "2000-01-01 00:00:00.000000"
"""The same for every file, so that the same particles give the same bytes."""
VERSION = "v4.4.1"
"""The version of cryoSPARC whose layout this is."""
ONE_CLASS = re.compile(r"alignments_class(3D)?_\d+")


def write_group(
    path: str | Path, root: str | None = None, parent: str | Path | None = None, origin: str | Path | None = None
) -> None:
    """Write the result group of the particles in ``path``, a ``.cs`` file, beside it.

    Every prefix of its fields is one result (``blob``, ``ctf``, ``alignments3D``, ...). The first lines, which YAML
    takes for comments, name ``root``, the directory that image paths start from, or that which ``parent`` names, and
    ``origin``, the ``.cs`` file beside which passthrough files of the particles lie.
    """
    path = Path(path)
    n, names = read_shape(path)
    prefixes = dict.fromkeys(name.partition("/")[0] for name in names if "/" in name)
    results: dict[str, Any] = {
        prefix: {"metafile": f">{path.name}", "num_items": n, "type": f"particle.{_slot(prefix)}"}
        for prefix in prefixes
    }
    group = {"name": "particles", "title": "Particles", "description": "Selected by cryocore", "type": "particle"}
    content = {"created": CREATED, "group": group, "results": results, "version": VERSION}
    with atomic_path(path.with_suffix(".csg")) as temporary:
        begin = b"" if root is None and parent is None else record(root, parent or path, path)
        begin += b"" if origin is None else record_origin(origin, path)
        temporary.write_bytes(begin + yaml.safe_dump(content).encode())


def _slot(prefix: str) -> str:
    """The type of a result: alignments to single classes are alignments like any other."""
    return "alignments3D" if ONE_CLASS.fullmatch(prefix) else prefix
