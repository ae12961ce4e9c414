"""The round that a run recommends to stop at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cryocore.tables.io import as_numpy, read_table


def recommended_number(run_dir: Path) -> int:
    """The recommended round of ``results/<run>``.

    Raises
    ------
    InputError  if the run has not said yet which one it is.
    """
    fix = "Let the run finish, or name a round with --round"
    table = read_table(run_dir / "rounds.parquet", ["round", "is_recommended"], fix=fix)
    return int(as_numpy(table.column("round"))[np.argmax(table.column("is_recommended").to_numpy())])
