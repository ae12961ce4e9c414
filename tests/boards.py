"""What is written for TensorBoard, without its package."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest


@dataclass
class Written:
    """Everything that was written: folder, kind, name, value and epoch of each."""

    entries: list[tuple[str, str, str, Any, int]] = field(default_factory=list)

    def epochs(self, kind: str, name: str) -> list[int]:
        """The epochs in which something of a kind was written under a name."""
        return [epoch for _, k, n, _, epoch in self.entries if (k, n) == (kind, name)]

    def values(self, kind: str, name: str) -> list[Any]:
        """What was written."""
        return [value for _, k, n, value, _ in self.entries if (k, n) == (kind, name)]


def recorded(monkeypatch: pytest.MonkeyPatch) -> Written:
    """Put a writer in the place of TensorBoard's that only notes what it is given."""
    written = Written()

    class SummaryWriter:
        def __init__(self, folder: str) -> None:
            self.folder = folder

        def __getattr__(self, name: str) -> Any:
            def note(tag: str, value: Any, epoch: int, **_: Any) -> None:
                kept = value.clone() if hasattr(value, "clone") else value  # a tensor changes as the training goes on
                written.entries.append((self.folder, name.removeprefix("add_"), tag, kept, epoch))

            return note

        def flush(self) -> None:
            pass

        close = flush

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=SummaryWriter))
    return written
