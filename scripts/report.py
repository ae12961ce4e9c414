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
    out_script: Path,
    settings: str = "{}",
) -> None:
    """Write rounds.parquet, report.html, the figures, the finest subset and the ChimeraX script; print the table."""
    config = Config.model_validate(json.loads(settings)["config"])
    outs = {"out_report": out_report, "out_figures": out_figures, "out_star": out_star, "out_script": out_script}
    summarise(run_dir, n_rounds=config.n_rounds, config=config, star=star, out_table=out_table, **outs)


if __name__ == "__main__":
    run(main)
