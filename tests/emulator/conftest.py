"""Tests of the emulator itself: ``make emulator`` runs them, where its ``cupy`` comes first on the path."""

from __future__ import annotations

collect_ignore = ["cupy"]  # a package of its own, under this name alone
