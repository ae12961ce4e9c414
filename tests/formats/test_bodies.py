"""Tables beside that of the particles which belong to it row by row: those of a multi-body refinement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cryocore.errors import InputError
from cryocore.formats.star import filter_star
from tests.ingest.samples import N, optics_columns, particle_columns, table


def body_text(n: int = N) -> str:
    return table("images_body_1", {"rlnAngleRot": [10.0 + i for i in range(n)]}) + table(
        "images_body_2", {"rlnAngleRot": [20.5 + i for i in range(n)], "rlnOriginXAngst": range(n)}
    )


@pytest.mark.parametrize("after", [True, False])
def test_bodies_stay_in_step_with_the_particles(tmp_path: Path, after: bool) -> None:
    particles, extra = table("particles", particle_columns()), table("other", {"rlnX": range(N)})
    parts = [particles, body_text(), extra] if after else [extra, body_text(), particles]
    star, out = tmp_path / "run_data.star", tmp_path / "out.star"
    star.write_text(table("optics", optics_columns()) + "".join(parts))
    keep = np.array([True, False, True, True, False, False, True, True])
    filter_star(star, keep, {"cryocoreNew": np.flatnonzero(keep)}, out)
    text = out.read_text()
    rows = {name: _rows(text, name) for name in ("images_body_1", "images_body_2", "other", "particles")}
    kept = np.flatnonzero(keep)
    assert rows["images_body_1"] == [[f"{10.0 + i}"] for i in kept]
    assert rows["images_body_2"] == [[f"{20.5 + i}", f"{i}"] for i in kept]
    assert len(rows["other"]) == N
    assert [row[-1] for row in rows["particles"]] == [str(i) for i in kept]
    filter_star(star, np.ones(N, dtype=bool), {}, out)
    assert out.read_bytes() == star.read_bytes()


def test_bodies_of_other_particles_are_refused(tmp_path: Path) -> None:
    star = tmp_path / "run_data.star"
    star.write_text(table("optics", optics_columns()) + table("particles", particle_columns()) + body_text(N - 1))
    with pytest.raises(InputError, match="data_images_body_1 has 7 rows for 8 particles"):
        filter_star(star, np.ones(N, dtype=bool), {}, tmp_path / "out.star")


def _rows(text: str, name: str) -> list[list[str]]:
    block = text.split(f"data_{name}\n")[1].split("\ndata_")[0]
    return [line.split() for line in block.splitlines() if line and not line.startswith(("_", "loop_"))]
