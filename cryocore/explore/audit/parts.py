"""Parts of an audit as files, so that one that was interrupted goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cryocore.tables.io import write_json

log = logging.getLogger(__name__)


def digest_of(*parts: Any) -> str:
    """Sixteen hexadecimal digits of arrays, and of values that JSON holds."""
    state = hashlib.sha256()
    for part in parts:
        plain = not isinstance(part, np.ndarray)
        state.update(json.dumps(part, sort_keys=True).encode() if plain else np.ascontiguousarray(part).tobytes())
        state.update(b"\0")
    return state.hexdigest()[:16]


@dataclass(frozen=True)
class Parts:
    """A folder of finished parts, all made from what ``key`` is a digest of."""

    folder: Path
    key: str

    def get(self, name: str, make: Callable[[], dict[str, Any]], *made_from: Any) -> dict[str, Any]:
        """A part: as it was written before, where it was made from the same, or else made and written."""
        path, key = self.folder / f"{name}.json", digest_of(self.key, *made_from)
        try:
            known = json.loads(path.read_text())
            if known["made_from"] == key:
                log.info("%s: done before", name.replace("_", " "))
                return dict(known["value"])
        except (OSError, ValueError, KeyError, TypeError):
            pass
        write_json(path, {"made_from": key, "value": make()})
        return dict(json.loads(path.read_text())["value"])

    def work(self, name: str, *made_from: Any) -> Path:
        """A folder for what a part needs meanwhile; empty, unless it is of the same part."""
        folder, key = self.folder / name, digest_of(self.key, *made_from)
        mark = folder / "made_from"
        if not mark.exists() or mark.read_text() != key:
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            mark.write_text(key)
        return folder
