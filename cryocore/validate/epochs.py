"""Which particles the epochs of an iterative reconstruction used, correct and incorrect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cryocore.tables.io import open_table


def epoch_metrics(batches: Path, correct: NDArray[np.bool_], known: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Particles used in each epoch, and how many are incorrect where the truth is known; one epoch at a time.

    Parameters
    ----------
    batches : the log of an iterative reconstruction, a row group per epoch in the order of the particles
    correct, known : (n,)   the truth, and where there is one
    """
    rows: list[dict[str, Any]] = []
    incorrect = known & ~correct
    with open_table(batches) as file:
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["epoch", "weight", "used"])
            used, weight = table.column("used").to_numpy(), table.column("weight").to_numpy()
            total = float(weight[known].sum(dtype=np.float64))
            rows.append(
                {
                    "epoch": int(table.column("epoch")[0].as_py()),
                    "used": int(used.sum()),
                    "wrong_used": int((used & incorrect).sum()) if known.any() else None,
                    "wrong_weight": round(float(weight[incorrect].sum(dtype=np.float64)) / total, 6)
                    if total > 0
                    else None,
                }
            )
    return rows
