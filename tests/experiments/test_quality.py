"""Cases of unequal quality: what is declared, how maps by several ways are made, and what the page says of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from cryocore.backend import get_backend
from cryocore.config.run import Config, parse_config
from cryocore.errors import InputError
from cryocore.formats.stacks import StackReader
from cryocore.ingest.particles import ingest
from cryocore.log.bands import mean_squared_frequency
from cryocore.log.quality import Bands, Grid, Likelihood
from cryocore.simulate.stage import simulate
from experiments import quality, quality_page
from experiments.cases import QUALITY, expand_quality, merged
from experiments.quality import (
    DataSet,
    dull,
    fallen_off,
    gain,
    headline,
    information,
    known,
    measure,
    of_scales,
    scored,
)
from experiments.runs import headline_of, measured_by

PLAN: dict[str, Any] = yaml.safe_load(QUALITY.read_text())
CASES = list(expand_quality(PLAN))
TINY: dict[str, Any] = {
    "run": "run",
    "symmetry": "C1",
    "backend": "cpu",
    "n_rounds": 1,
    "input": {
        "simulate": {
            "molecule": "small",
            "bfactor_angstrom2": 50,
            "pixel_size_angstrom": 4.0,
            "box": 32,
            "n_particles": 1500,
            "n_micrographs": 15,
            "snr": 0.05,
            "orientations": "uniform",
        }
    },
}


def tiny(**simulate: Any) -> Config:
    return parse_config(merged(TINY, {"input": {"simulate": simulate}}))


def data_of(config: Config, folder: Path) -> DataSet:
    backend = get_backend("cpu", threads=1)
    common: dict[str, Any] = {"symmetry": "C1", "seed": 0, "out_dir": folder, "backend": backend}
    simulate(config.input.simulate, config.input.plant, **common)
    particles = ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=0)
    return scored(replace(particles, root=str(folder)), config, backend, folder)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    """Particles whose B-factors are 0 or 600 Å²."""
    config = tiny(particle_bfactor_sd_angstrom2=300.0, bfactor_law="two_valued")
    return data_of(config, tmp_path_factory.mktemp("quality"))


def test_every_combination_is_a_configuration() -> None:
    assert len({case.name for case in CASES}) == len(CASES) == 6 * 7 * 4 * 2 * 5
    without_data = [case for case in CASES if case.factors["seed"] == 0 and "volume" not in str(case.config)]
    for case in without_data[::7]:
        config = parse_config({"run": "run", **case.config})
        made = config.input.simulate
        differs = made.micrograph_bfactor_sd_angstrom2 + made.particle_bfactor_sd_angstrom2 > 0
        assert differs == (case.factors["kind"] != "none")
        assert config.input.plant.wrong_pose == case.factors["rate"] and made.snr == case.factors["snr"]


def test_what_is_measured_is_part_of_the_grid() -> None:
    chosen = [case for case in CASES if "quality" in case.sets]
    planned = [
        len(p["molecule"]) * len(p["kind"]) * len(p["snr"]) * len(p["rate"]) * p["seeds"] for p in PLAN["measured"]
    ]
    assert len(chosen) == sum(planned) and all("quality-grid" in case.sets for case in CASES)
    seeds = Counter(case.factors["kind"] for case in chosen if case.factors["molecule"] == "small")
    assert seeds["none"] == seeds["micrograph-uniform"] > seeds["micrograph-normal"] > 0
    assert measured_by(chosen[0]) == ("quality",) and headline_of(chosen[0]) is headline


def test_an_unknown_kind_is_refused() -> None:
    plan = {**PLAN, "measured": [{**PLAN["measured"][0], "kind": ["ice"]}]}
    with pytest.raises(InputError, match="there is no ice"):
        list(expand_quality(plan))


def test_images_fall_off_each_by_its_own() -> None:
    images = np.random.default_rng(0).normal(size=(3, 16, 16)).astype(np.float32)
    bfactor = np.array([0.0, 100.0, -50.0], dtype=np.float32)
    before, after = (np.fft.rfft2(values) for values in (images, fallen_off(images, bfactor, 2.5)))
    s2 = np.fft.fftfreq(16, 2.5)[:, None] ** 2 + np.fft.rfftfreq(16, 2.5) ** 2
    np.testing.assert_allclose(after, before * np.exp(-0.25 * bfactor[:, None, None] * s2), atol=1e-4)


def test_true_bfactors_make_a_better_map(data: DataSet) -> None:
    equal = data.maps.measured(data.weights)
    true = data.maps.measured(data.weights, dull(data.bfactor_angstrom2))
    wrong = data.maps.measured(data.weights, dull(-data.bfactor_angstrom2))
    assert true["area"] > equal["area"] + 0.003 > wrong["area"] + 0.01
    assert data.bfactor_angstrom2[data.run.correct].mean() == pytest.approx(0.0, abs=1e-9)


def test_one_weight_for_all_changes_nothing(data: DataSet) -> None:
    """By resolution: what all have in common is in both sums. Of particles that fall off it does not cancel."""
    equal = data.maps.measured(data.weights)
    same = quality.weighed_by_resolution(data, np.full(len(data.weights), 200.0))
    assert same["area"] == pytest.approx(equal["area"], abs=1e-4)
    differing = quality.weighed_by_resolution(data, data.bfactor_angstrom2)
    assert abs(differing["area"] - equal["area"]) > 1e-3


def test_scales_of_one_change_nothing(data: DataSet) -> None:
    ones = of_scales(data, 0.0)
    assert ones["equal"] == ones["true"] == pytest.approx(data.maps.measured(data.weights)["area"], abs=1e-6)
    assert ones["found"] == pytest.approx(ones["equal"], abs=2e-3)


@pytest.mark.slow
def test_scales_of_micrographs_are_found(data: DataSet) -> None:
    areas = of_scales(data, 0.8)
    assert areas["true"] > areas["equal"] + 0.002
    assert areas["found"] > areas["equal"] + 0.7 * (areas["true"] - areas["equal"])


def test_held_images_are_those_of_the_stacks(data: DataSet) -> None:
    rows = np.array([5, 2, 1290])
    with StackReader(data.maps.particles) as stacks, quality.Held(data.maps.images) as held:
        np.testing.assert_array_equal(held.read(rows), stacks.read(rows))


def law(bands: int = 24) -> Any:
    """A log of two particles whose bands say something of B."""
    rng = np.random.default_rng(4)
    metadata = {
        "band_edges": list(range(1, bands + 2)),
        "box": 64,
        "pixel_size_angstrom": 2.0,
        "noise_power": [[2.0] * bands],
        "signal_share": np.linspace(1.0, 0.2, bands).tolist(),
        "score_settings": {"noise_per_particle": True},
    }
    columns = {
        "optics_group": np.zeros(2, dtype=np.int32),
        "noise_factor": np.array([1.0, 1.5], dtype=np.float32),
        "projection_power": rng.uniform(50.0, 90.0, (2, bands)).astype(np.float32),
    }
    return SimpleNamespace(metadata=metadata, columns=list(columns), read=lambda names: {n: columns[n] for n in names})


def test_information_is_the_curvature_of_the_likelihood() -> None:
    """Of the mean band sums, at the true B."""
    log, true, step = law(), np.array([40.0, -30.0]), 1.0
    frequency2 = mean_squared_frequency(log.metadata)
    columns = log.read(log.columns)
    noise = 2.0 * columns["noise_factor"].astype(np.float64)[:, None]
    energy = np.asarray(log.metadata["signal_share"]) ** 2 * columns["projection_power"] / noise
    for i in range(2):
        values = true[i] + step * np.arange(-1, 2)
        grid = Grid(values, np.exp(-0.25 * values[:, None] * frequency2))
        mean = energy[[i]] * np.exp(-0.25 * true[i] * frequency2)
        bands = Bands(mean, energy[[i]], np.ones(1), np.zeros(1, dtype=int))
        of_values = Likelihood.of(bands, grid, 0.0, 1).integrated(0.0)[0]
        curvature = -(of_values[0] - 2 * of_values[1] + of_values[2]) / step**2
        assert information(log, true)[i] == pytest.approx(curvature, rel=0.01)


def test_what_can_be_known_has_the_error_that_the_data_leave(data: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of B-factors of variance V with an error of variance E is known V / (V + E) of their variance."""
    n, spread = len(data.weights), 300.0
    rng = np.random.default_rng(2)
    config = data.run.config.model_copy(update={"seed": 3})
    many = replace(
        data,
        run=replace(data.run, config=config, correct=np.ones(10 * n, dtype=bool), half=np.tile(data.run.half, 10)),
        bfactor_angstrom2=spread * rng.normal(size=10 * n),
    )
    for error in (1e-3, 150.0, 900.0):
        monkeypatch.setattr(quality, "information", lambda log, b, error=error: np.full(len(b), error**-2.0))
        reliability = spread**2 / (spread**2 + error**2)
        found = known(many)
        assert found.std() / spread == pytest.approx(reliability**0.5, rel=0.05)
        assert np.polyfit(found, many.bfactor_angstrom2, 1)[0] == pytest.approx(1.0, abs=0.06)


@pytest.mark.slow
def test_a_case_is_measured() -> None:
    config = tiny(micrograph_bfactor_sd_angstrom2=300.0, bfactor_law="two_valued")
    values = measure(config, get_backend("cpu", threads=1), lambda text: None)
    maps = values["maps"]
    assert values["n"] == 1500 and values["error_rate"] == 0.0 and "beyond" not in values
    assert values["spreads"]["spread_angstrom2"]["micrograph"] > 100 and values["correlation"] > 0.9
    assert maps["true"]["area"] > maps["equal"]["area"] and maps["found"]["area"] > maps["equal"]["area"]
    assert maps["zc_50"]["area"] < maps["zc_80"]["area"] < maps["true"]["area"]
    assert {"ldac_80", "cryosieve", "cistem", "cistem_100", "known"} <= set(maps)
    assert "found B +" in headline(values) and "true B +" in headline(values)


@pytest.mark.slow
def test_sets_of_even_particles_say_what_else_is_worth() -> None:
    values = measure(tiny(), get_backend("cpu", threads=1), lambda text: None)
    assert values["spreads"] is None and "true" not in values["maps"] and values["correlation"] is None
    found = values["beyond"]
    assert found["defocus"]["true"] > found["defocus"]["equal"]
    assert found["scale"]["true"] > found["scale"]["equal"] - 0.002
    assert gain(values, "found") == 0.0 and gain(values, "true") is None


def finished(kind: str, seed: int, **gains: float) -> dict[str, Any]:
    """A result as ``measure`` leaves it."""
    maps = {
        name: {"area": 0.5 + value, "resolution_angstrom": 8.0 - 10 * value}
        for name, value in {"equal": 0.0, **gains}.items()
    }
    maps["equal"]["bfactor_angstrom2"] = 200.0
    found = {"spread_angstrom2": {"micrograph": 90.0}} if "found" in gains else None
    return {
        "name": f"{kind}-{seed}",
        "sets": ("quality", "quality-grid"),
        "molecule": "small",
        "kind": kind,
        "snr": 0.02,
        "rate": 0.0,
        "seed": seed,
        "spreads": found,
        "correlation": 0.8 if found else None,
        "maps": maps,
    }


WAYS = {"known": 0.036, "zc_80": -0.02, "zc_50": -0.06, "ldac_80": -0.01, "ldac_50": -0.05, "cistem": 0.0008}
WAYS |= {"cistem_30": -0.001, "cistem_100": -0.02}


def results() -> list[dict[str, Any]]:
    micrograph = [finished("micrograph-two", s, found=0.03 + 0.002 * s, true=0.04, **WAYS) for s in (0, 1)]
    return [
        *micrograph,
        finished("particle-two", 0, true=0.04, **{**WAYS, "known": 0.012}),
        finished("none", 0),
        finished("none", 1, found=-0.0011),
    ]


def test_the_summary_says_what_is_reached_and_what_is_missed() -> None:
    uneven = [{**finished("micrograph-two", 0, found=-0.02, true=-0.01, **WAYS), "molecule": "small-views"}]
    lines = list(quality_page.summary(quality_page.by_row(results()), quality_page.by_row(uneven)))
    assert lines == [
        "Where micrographs differ, B-factors that are found give 78 % of the true ones' gain; 80 % are wanted "
        "and reached in 0 of 1 rows. Knowable are 90 %.",
        "Where only particles differ, B-factors that are found give 0 % of the true ones' gain; 40 % are wanted "
        "and reached in 0 of 1 rows. Knowable are 30 %.",
        "Where particles are alike, B-factors are found in 1 of 2 sets; the largest loss of area is 0.0011 (0.0005 is "
        "allowed: missed).",
        "Views even: B-factors that are found gain -0.0011 or more; 1 of 5 sets lose more than 0.0005.",
        "Views uneven: B-factors that are found gain -0.0200 or more; 1 of 1 sets lose more than 0.0005.",
    ]


def test_the_page_shows_every_row() -> None:
    cases = results()
    cases[0]["maps"]["true"]["bfactor_angstrom2"] = 190.0
    cases[3]["beyond"] = {
        "defocus": {"equal": 0.4, "found": 0.41, "true": 0.5},
        "scale": {"equal": 0.5, "found": 0.519, "true": 0.52},
    }
    uneven = [{**finished("micrograph-two", 0, found=-0.02, true=-0.01, **WAYS), "molecule": "small-views"}]
    text = quality_page.page_text(quality_page.by_row([*cases, *uneven]))
    name = "small, C1, SNR 0.02: micrographs, 0 or 250 Å²"
    assert f"| {name} | 2 | 0.5000 | +0.0400 ± 0.0000 | 78 % | 90 % | 0.80 | 2 of 2 |" in text
    assert "| small, C1, SNR 0.02: alike | 2 | 0.5000 | - | -0.0005 ± 0.0008 | - | 0.80 | 1 of 2 |" in text
    assert "| +0.001 ± 0.000 | +0.001 ± 0.000 | +0.031 ± 0.001 | +0.040 ± 0.000 |" in text
    assert f"| {name} | 8.00 | 7.69 | 7.60 | 200 | - | 190 |" in text
    assert "| small, two views, SNR 0.02: micrographs, 0 or 250 Å² | 0.500 | -0.020 | -0.010 |" in text
    assert "| small, C1, SNR 0.02 | +0.1000 | +0.0100 | +0.0200 | +0.0190 |" in text
    assert "Measured here: 6 cases" in text and "| - | - |" in text


def test_the_figure_has_a_line_per_row(tmp_path: Path) -> None:
    for case in results():
        (tmp_path / f"{case['name']}.json").write_text(json.dumps(case))
    page = quality_page.write_page(tmp_path, tmp_path / "docs" / "quality.md")
    assert page is not None and (page.parent / "images" / quality_page.FIGURE).stat().st_size > 10_000
    assert quality_page.write_page(tmp_path / "docs", tmp_path / "none.md") is None
    rows = quality_page.by_row(results())
    drawn = {row: cases for row, cases in rows.items() if quality_page.differs(row)}
    axes = quality_page.gains_figure(drawn).axes[0]
    assert [text.get_text() for text in axes.get_yticklabels()] == [quality_page.label(row) for row in drawn]
