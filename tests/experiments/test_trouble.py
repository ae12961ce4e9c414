"""Cases of trouble: every row is a configuration, messages are read from logs, and the page says what was measured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from benchmarks.validation import common
from cryocore.config.run import parse_config
from cryocore.errors import InputError
from cryocore.geometry.symmetry import point_group
from cryocore.maps.mrc import read_map, write_map
from experiments import runs, trouble_page
from experiments.cases import TROUBLE, Case, expand_trouble
from experiments.densities import cut_in_fourier, in_box, tetramer
from experiments.trouble import first_sentence, headline, kind_of, stop_message, told_at_stop, two_aucs

PLAN: dict[str, Any] = yaml.safe_load(TROUBLE.read_text())
CASES = list(expand_trouble(PLAN))
INCORRECT = ("wrong_pose", "local_pose", "wrong_shift", "junk")


@pytest.mark.parametrize("case", [c for c in CASES if c.factors["seed"] == 0], ids=lambda c: c.factors["row"])
def test_every_row_is_a_configuration(case: Case) -> None:
    config = parse_config({"run": "run", **case.config})
    assert config.select.rule == "soft" and config.input.star is None
    assert 48 <= config.input.simulate.box <= 64
    assert config.n_rounds == (1 if "noise" in case.sets else 3)
    made, planted = config.input.simulate, config.input.plant
    if "clean" in case.sets:
        assert planted.total == made.pose_jitter_deg == made.wrong_defocus == 0.0


def test_rows_have_several_seeds_and_noise_has_many() -> None:
    counts = Counter(case.factors["row"] for case in CASES if "trouble" in case.sets)
    assert set(counts.values()) == {3}
    noise = Counter(case.factors["row"] for case in CASES if "noise" in case.sets)
    assert noise == {f"noise-{kind}": 20 for kind in ("white", "coloured", "real")}
    assert {case.config["seed"] for case in CASES if case.factors["row"] == "beads"} == {0, 1, 2}
    assert len({case.name for case in CASES}) == len(CASES)


def test_a_row_of_an_unknown_base_is_refused() -> None:
    plan = {**PLAN, "rows": [{"name": "a", "label": "a", "base": "ribosome"}]}
    with pytest.raises(InputError, match="there is no ribosome"):
        list(expand_trouble(plan))


def test_absent_data_are_a_reason_to_skip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "SHARED_DATA", tmp_path)
    case = next(case for case in CASES if case.factors["row"] == "background")
    outcome = runs.run_cases([case], cores=1, work=tmp_path / "work", store=tmp_path / "store")[0]
    assert outcome.state == "skipped" and "the shared data hold no" in outcome.text


def test_maps_are_brought_to_the_box_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(common, "SHARED_DATA", tmp_path)
    monkeypatch.setattr(runs, "DENSITIES", tmp_path / "made")
    x = np.arange(24) - 12
    square = x[:, None, None] ** 2 + (x[:, None] - 2) ** 2 + x**2
    write_map(tmp_path / "a.mrc", np.exp(-square / 18.0).astype(np.float32), 2.0)
    case = Case("a", {}, {"input": {"simulate": {"volume": "shared:a.mrc@16", "box": 16}}}, ("trouble",))
    path = Path(str(runs.configuration(case).input.simulate.volume))
    found, pixel = read_map(path)
    assert found.shape == (16,) * 3 and pixel == pytest.approx(3.0)
    y = 3.0 * (np.arange(16) - 8)
    wanted = np.exp(-(y[:, None, None] ** 2 + (y[:, None] - 4.0) ** 2 + y**2) / 72.0)
    assert np.abs(found - wanted).max() < 0.02
    before = path.stat().st_mtime_ns
    assert in_box(tmp_path / "a.mrc", 16, tmp_path / "made").stat().st_mtime_ns == before


def test_a_map_of_its_own_box_stays_but_for_its_corners() -> None:
    rng = np.random.default_rng(0)
    smooth = cut_in_fourier(rng.normal(size=(20,) * 3).astype(np.float32), 20)
    np.testing.assert_allclose(cut_in_fourier(smooth, 20), smooth, atol=1e-5)


def test_the_tetramer_has_its_group_and_no_fourfold_axis() -> None:
    volume = tetramer(48)
    inner = volume[1:, 1:, 1:]  # about the centre, voxel 24
    for flipped in (inner[:, ::-1, ::-1], inner[::-1, :, ::-1], inner[::-1, ::-1]):
        assert np.corrcoef(inner.ravel(), flipped.ravel())[0, 1] > 0.9999
    assert np.corrcoef(inner.ravel(), np.rot90(inner, axes=(1, 2)).ravel())[0, 1] < 0.8
    assert len(point_group("D2")) == 4


SAID = (
    "results/run/log/round=0/log.parquet: no signal: the 1,000 images match the map at random poses. "
    "Look at the images."
)


def write_log(folder: Path, text: str) -> Path:
    log = folder / "logs" / "run" / "select" / "round_1.log"
    log.parent.mkdir(parents=True)
    log.write_text(text)
    return folder / "logs" / "run"


def test_the_message_of_a_stop_is_read_from_its_log(tmp_path: Path) -> None:
    logs = write_log(tmp_path, f"2026-01-01 10:00:00 ERROR cryocore: {SAID}\n")
    message = stop_message(logs)
    assert message is not None and message.startswith("no signal: the 1,000 images")
    assert first_sentence(told_at_stop(message)) == message.removesuffix(" Look at the images.")
    case = {"told": told_at_stop(message)}
    assert headline(case) == f"stopped ({first_sentence(case['told'])})"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01 10:00:00 INFO cryocore: read 10 particles\n",
        "2026-01-01 10:00:00 ERROR cryocore: a fault of the program\nTraceback (most recent call last):\nKeyError: 7\n",
    ],
)
def test_a_fault_of_the_program_is_no_message(tmp_path: Path, text: str) -> None:
    assert stop_message(write_log(tmp_path, text)) is None


def test_warnings_of_a_kind_are_one_whatever_their_numbers() -> None:
    texts = ["The half sets are uneven: 1,200 and 950 particles.", "The half sets are uneven: 3 and 95.5 particles."]
    assert {kind_of(text) for text in texts} == {"The half sets are uneven"}
    assert kind_of("2 views are removed (tilt 4°, rot 5°; more).") == "N views are removed."
    assert kind_of("Round 3 drops 4.5 % of the particles, where 1 is wrong: look.") == (
        "Round N drops N % of the particles, where N is wrong"
    )


def test_nothing_incorrect_has_no_auc() -> None:
    assert two_aucs({"mixture": None, "zc": None}) == {"mixture": None, "best": None, "best_name": None}


def finished(
    seed: int, *, label: str = "a", sets: tuple[str, ...] = ("trouble",), gain: float = 0.02, **changes: Any
) -> dict[str, Any]:
    """A result as ``measure`` leaves it."""
    last = {"kept_share": 0.8, "correct_rate": 0.95, "recall": 0.9, "fsc_truth_area": 0.51}
    recommended = "Recommended subset: round 1. It is the best."
    told = {"stop": None, "recommended": recommended, "recommended_round": 1, "warnings": []}
    areas = {"all": 0.5, "chosen": 0.5 + gain, "random": 0.45, "correct": 0.54, "cryosieve": 0.48}
    return {
        "name": f"{label}-{seed}",
        "label": label,
        "sets": sets,
        "error_rate": 0.2,
        "told": told,
        "estimate": {"value": 0.22, "low": 0.18, "high": 0.26},
        "rounds": [{}, last],
        "aucs": {"mixture": 0.97, "best": 0.96, "best_name": "zc"},
        "areas": areas,
        **changes,
    }


def stopped(seed: int, label: str, sets: tuple[str, ...] = ("noise",), message: str | None = "no signal. Look.") -> Any:
    return {"name": f"{label}-{seed}", "label": label, "sets": sets, "error_rate": 1.0, "told": told_at_stop(message)}


def test_the_summary_counts_intervals_maps_and_stops() -> None:
    missed = {"value": 0.1, "low": 0.05, "high": 0.15}
    rows = trouble_page.by_row(
        [
            *(finished(seed, gain=0.02 + 0.001 * seed) for seed in range(3)),
            *(finished(seed, label="b", gain=-0.03 + 0.001 * seed) for seed in range(2)),
            finished(2, label="b", gain=-0.03, estimate=missed),
            *(finished(seed, label="c", gain=0.01 * (seed - 1)) for seed in range(3)),
            finished(0, label="d", gain=-0.2),
        ]
    )
    noise = trouble_page.by_row(
        [*(stopped(s, "noise alone, white") for s in range(2)), stopped(2, "noise alone, white", message=None)]
    )
    lines = list(trouble_page.summary(rows, noise))
    assert lines == [
        "The 95 % interval of the share of incorrect particles holds it in 9 of 10 runs; mean width 8.2 %; "
        "not always: b.",
        "Rows whose chosen map is worse than that of all particles by more than the standard deviation of the "
        "difference: 1 of 4: b.",
        "Rows whose chosen map is better by more than the standard deviation of the difference: 1 of 4: a.",
        "Noise alone, white: 2 of 3 stopped.",
    ]


def test_what_rounds_add_is_told_of_rows_that_have_all(tmp_path: Path) -> None:
    areas = {"a": (0.5, 0.52, 0.521), "b": (0.3, 0.4, 0.39)}
    cases = [
        finished(seed, label=label, rounds=[{"fsc_truth_area": area + 0.01 * seed} for area in values])
        for label, values in areas.items()
        for seed in range(2)
    ]
    rows = trouble_page.by_row([*cases, stopped(0, "c"), finished(0, label="d")])
    text = trouble_page.rounds_text(rows)
    assert text.endswith(
        "| row | round 1 | round 2 |\n|---|---|---|\n| b | +0.1000 | -0.0100 |\n| a | +0.0200 | +0.0010 |\n"
    )
    assert trouble_page.rounds_text(trouble_page.by_row([finished(0), stopped(0, "c")])) == ""


def test_false_alarms_are_counted_on_clean_cases_alone() -> None:
    warnings = ["Odd: 1 and 2.", "Odd: 3."]
    warned = {"stop": None, "recommended": "", "recommended_round": None, "warnings": warnings}
    estimate = {"value": 0.05, "low": 0.01, "high": 0.1}
    clean = ("trouble", "clean")
    rows = trouble_page.by_row(
        [
            finished(0, sets=clean, told=warned, estimate=estimate, error_rate=0.0),
            finished(1, sets=clean, error_rate=0.0, estimate={"value": 0.0, "low": 0.0, "high": 0.02}),
            finished(0, label="b", told=warned),
        ]
    )
    text = trouble_page.false_alarms(rows)
    assert "| Odd | 1 of 2 |" in text and "| an interval that excludes 0 | 1 of 2 |" in text
    assert "| stopped with a message | 0 of 2 |" in text
    assert trouble_page.false_alarms(trouble_page.by_row([finished(0)])) == ""


def test_the_page_shows_lists_maps_and_messages() -> None:
    early = finished(0, label="early", rounds=[{}], areas={"all": 0.3, "correct": 0.4, "cryosieve": 0.2})
    early["told"] = told_at_stop("the list would be too short. Use more.")
    cases = [finished(0), finished(1, gain=0.04), early, stopped(0, "noise alone, white", ("trouble", "noise"))]
    text = trouble_page.page_text(cases)
    assert "| a | 20.0 % | 22.0 % | 2 of 2 | 8.0 % | 80.0 % | 95.0 % | 90.0 % | 0.970 | 0.960 `zc` |" in text
    assert "| a | 0.500 | -0.050 ± 0.000 | -0.020 ± 0.000 | +0.030 ± 0.014 | +0.010 ± 0.000 | +0.040 ± 0.000 |" in text
    assert "| early | 0.300 | - | -0.100 | - | - | +0.100 |" in text
    assert "| early | 20.0 % | 22.0 % | 1 of 1 | 8.0 % | - | - | - | 0.970 | 0.960 `zc` |" in text
    assert "| early | the list would be too short. | - |" in text
    assert "| noise alone, white | no signal. | - |" in text and "Noise alone, white: 1 of 1 stopped." in text
    assert "Stopped with a message: early (1 of 1)." in text
