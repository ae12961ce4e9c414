"""What tests of maps share."""

from __future__ import annotations

import pytest

from cryocore.imaging import solve


@pytest.fixture
def undamped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half maps as RELION makes them: divided by their denominators, however small they are."""
    monkeypatch.setattr(solve, "DAMPING", 0.0)
