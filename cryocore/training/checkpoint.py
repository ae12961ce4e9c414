"""What an interrupted iteration continues from: tensors and plain values after each epoch, in one file."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from cryocore.errors import InputError
from cryocore.tables.io import atomic_path


def identity(*parts: Any) -> str:
    """What tells one problem from another: a digest of plain values and arrays."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.tobytes() if hasattr(part, "tobytes") else json.dumps(part, sort_keys=True).encode())
    return digest.hexdigest()[:32]


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state of tensors and plain values; the file before stays until the next one is whole."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        torch.save(state, file)  # given a path, it would write the random name into the file


def load(path: Path, wanted: str) -> dict[str, Any] | None:
    """The state that :func:`save` wrote, or None where there is none or it is of another problem.

    Only tensors and plain values are read, nothing that could run.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises whatever its parts raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"the checkpoint cannot be read ({reason})", file=path, fix="Delete it") from None
    return state if state.get("identity") == wanted else None
