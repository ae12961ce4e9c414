"""One report of the run without images, for all tests."""

from __future__ import annotations

import pytest

from cryocore.config.run import Config
from cryocore.figures.look import STYLE
from cryocore.report.summary import summarise
from tests.runs import finished_run, make_run

__all__ = ["finished_run", "make_run"]


def report(run, out, n_rounds=2, config=None):
    """Write the report of a run."""
    summarise(
        run.folder,
        n_rounds=n_rounds,
        config=Config(symmetry="C1", seed=20240) if config is None else config,
        out_table=out / "rounds.parquet",
        out_report=out / "report.html",
        out_figures=out / "figures",
        star=run.folder / "particles.star",
        out_star=out / "recommended.star",
        out_script=out / "maps.cxc",
    )
    return out


@pytest.fixture(scope="session", autouse=True)
def small_pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cryocore.validate.surfaces.MAP_PIXELS", 80)
        patch.setitem(STYLE, "savefig.dpi", 60)
        yield


@pytest.fixture(scope="session")
def finished_report(finished_run, tmp_path_factory):
    return report(finished_run, tmp_path_factory.mktemp("report"))
