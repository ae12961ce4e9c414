"""How a run chose, round by round, as its files say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryocore.config.score import Score
from cryocore.config.select import Select
from cryocore.errors import InputError
from cryocore.log.names import PROBABILITY
from cryocore.log.rounds import LogRound
from cryocore.tables.io import AGAIN, read_schema, table_metadata


@dataclass(frozen=True)
class Choice:
    """How the particles of a round were chosen: how those of the round before were scored, and the rule."""

    score: Score
    select: Select
    seed: int

    @property
    def by_classifier(self) -> bool:
        """Whether a classifier's probability decides, which is not made again."""
        return self.select.score == PROBABILITY

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"score": self.score.model_dump(), "select": self.select.model_dump(), "seed": self.seed}


def choices_up_to(run_dir: Path, rounds: Sequence[LogRound], number: int) -> list[Choice]:
    """The choices that led to the list of round ``number``, that of round 1 first.

    Raises
    ------
    InputError  if a round's log or subset is missing, or says nothing of it.
    """
    logs = {log.number: log for log in rounds}
    found = []
    for r in range(number):
        subset = run_dir / f"round_{r + 1}" / "subset.parquet"
        made_by = table_metadata(read_schema(subset))
        if r not in logs or "score_settings" not in logs[r].metadata:
            fix = "Run snakemake again"
            raise InputError(f"the log does not say how round {r} was scored", file=run_dir, fix=fix)
        try:
            select, seed = Select.model_validate(made_by["settings"]), int(made_by["seed"])
            found.append(Choice(Score.model_validate(logs[r].metadata["score_settings"]), select, seed))
        except (KeyError, TypeError, ValueError):
            raise InputError("it does not say how it was chosen", file=subset, fix=AGAIN) from None
    return found
