"""Rule report: all rounds in one table and one page."""

import json
from pathlib import Path

from cryocore.cli import run
from cryocore.config import Config
from cryocore.report import summarise


def main(
    run_dir: Path,
    star: Path,
    out_table: Path,
    out_report: Path,
    out_figures: Path,
    out_star: Path,
    settings: str = "{}",
) -> None:
    """Write rounds.parquet, report.html, the figures and the finest subset; print the table."""
    config = Config.model_validate(json.loads(settings)["config"])
    outs = {"out_table": out_table, "out_report": out_report, "out_figures": out_figures, "out_star": out_star}
    summarise(run_dir, n_rounds=config.n_rounds, config=config, star=star, **outs)


if __name__ == "__main__":
    run(main)
