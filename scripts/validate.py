"""Rule validate: the evidence of one round, and its part of the log."""

import json
from pathlib import Path

from cryocore.cli import run
from cryocore.validate import validate_round


def main(
    scores: Path,
    round_dir: Path,
    out_metrics: Path,
    out_log: Path,
    truth: Path | None = None,
    true_map: Path | None = None,
    batches: Path | None = None,
    settings: str = "{}",
) -> None:
    """Write the metrics of a round, and its scores joined with what is known of the truth."""
    values = json.loads(settings)
    how = {"score_name": values["score"], "seed": values["seed"], "batches": batches}
    validate_round(scores, round_dir, truth, true_map, **how, out_metrics=out_metrics, out_log=out_log)


if __name__ == "__main__":
    run(main)
