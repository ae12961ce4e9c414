"""The one error a user is meant to read."""

from __future__ import annotations

import errno
from pathlib import Path

FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
"""Errors of a file system that takes no more."""


class InputError(ValueError):
    """Something the user supplied is wrong; says what, where, and what to do.

    Parameters
    ----------
    problem : what is wrong, as a full clause ("tilt is missing")
    fix : what the user can do about it, as an imperative ("Refine the particles first")
    file, row, column : where it is; ``row`` counts particles from 1
    setting : the key of the configuration that it is about, as ``select.value``

    >>> print(InputError("the defocus is not a number", file="a.star", row=3, fix="Estimate the CTF again"))
    a.star, row 3: the defocus is not a number. Estimate the CTF again.
    """

    def __init__(
        self,
        problem: str,
        *,
        fix: str,
        file: str | Path | None = None,
        row: int | None = None,
        column: str | None = None,
        setting: str | None = None,
    ) -> None:
        self.problem, self.fix = problem, fix
        self.file = None if file is None else str(file)
        self.row, self.column, self.setting = row, column, setting
        place = [
            text
            for text in (
                self.file,
                None if row is None else f"row {row}",
                None if column is None else f"column {column}",
                None if setting is None else f"setting {setting}",
            )
            if text
        ]
        where = f"{', '.join(place)}: " if place else ""
        super().__init__(f"{where}{problem.rstrip('.')}. {fix.rstrip('.')}.")

    def about(self, file: str | Path) -> InputError:
        """The same error, about a file if it names none."""
        where = {"row": self.row, "column": self.column, "setting": self.setting}
        return InputError(self.problem, fix=self.fix, file=self.file or file, **where)  # type: ignore[arg-type]
