"""Wrong defoci of micrographs: band sums drawn from their law, and what is found in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cryocore.log import defocus
from cryocore.log.bands import BAND_SUMS
from cryocore.log.columns import table_columns
from cryocore.log.complete import named, with_faulty
from cryocore.log.defocus import WrongDefocus, likeliest_share, wrong_defocus
from cryocore.log.names import APPLIED_BFACTOR
from cryocore.statistics import posterior
from cryocore.types import Bools, Floats, Ints
from tests.log.test_quality import FREQUENCY2, METADATA, drawn, on_micrographs

WRONG = 8


def off_by(offset: Floats, micrograph: Ints, seed: int, **kwargs: Any) -> pa.Table:
    """A log whose predictions are multiplied by what a wrong defocus ``(micrographs,)`` leaves of them; 0: right."""
    shell = np.arange(1, 25) + 0.0
    phase = np.pi * defocus.WAVELENGTH_ANGSTROM * offset[:, None] * (shell / (64 * 2.0)) ** 2
    return left_of(np.cos(phase), micrograph, seed, **kwargs)


def left_of(envelope: Floats, micrograph: Ints, seed: int, **kwargs: Any) -> pa.Table:
    """A log whose predictions are multiplied by an envelope ``(micrographs, 24)``."""
    table = drawn(np.zeros(len(micrograph)), micrograph.astype(float), seed, **kwargs)
    clean, power = (table_columns(table.select([n]))[n].astype(float) for n in ("inner_product", "projection_power"))
    signal = power * np.asarray(METADATA["signal_share"])
    correct = (table["mixture"].to_numpy() > 0)[:, None]
    turned = clean + correct * signal * (envelope[micrograph] - 1.0)
    at = table.schema.get_field_index("inner_product")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(turned.astype(np.float32).ravel()), 24)
    return table.set_column(at, "inner_product", flat)


def found(table: pa.Table, micrograph: Ints, spoilt: Bools | None = None, row_group: int = 400) -> WrongDefocus | None:
    names = ["optics_group", *BAND_SUMS, *([APPLIED_BFACTOR] if APPLIED_BFACTOR in table.column_names else [])]

    def row_groups() -> Iterator[dict[str, Any]]:
        for start in range(0, len(table), row_group):
            yield table_columns(table.select(names).slice(start, row_group))

    none = np.zeros(len(micrograph), dtype=bool)
    return wrong_defocus(row_groups, METADATA, micrograph, none if spoilt is None else spoilt)


def offsets(seed: int) -> tuple[Floats, Ints]:
    rng = np.random.default_rng(seed)
    offset = np.zeros(40)
    offset[:WRONG] = rng.uniform(3000.0, 8000.0, WRONG)
    return offset, rng.integers(40, size=1500)


@pytest.mark.parametrize("correct", [1.0, 0.6])
def test_wrong_micrographs_are_found(correct: float) -> None:
    for seed in range(3):
        offset, micrograph = offsets(seed)
        result = found(off_by(offset, micrograph, seed, correct=correct), micrograph)
        assert result is not None and result.gain > 20.0
        assert result.probability[:WRONG].min() > 0.5 and result.probability[WRONG:].max() < 0.5
        assert result.probability.sum() == pytest.approx(WRONG, abs=1.0)
        np.testing.assert_allclose(result.offset_angstrom[:WRONG], offset[:WRONG], rtol=0.25)


def test_none_is_found_where_all_are_right() -> None:
    """Nor where micrographs have B-factors of their own: 2 of 40 sets at most, and none that is warned of."""
    results = []
    for seed in range(20):
        for sd in (0.0, 80.0):
            bfactor, micrograph = on_micrographs(seed, sd)
            codes = micrograph.astype(np.int64)
            results.append(found(drawn(bfactor, micrograph, seed, correct=0.8), codes))
    assert sum(r is not None for r in results) <= 2
    assert all(r is None or r.gain < 4.0 for r in results)


def test_none_is_found_where_nearly_all_particles_are_wrong_or_the_map_is() -> None:
    for seed in range(5):
        micrograph = offsets(seed)[1]
        result = found(off_by(np.zeros(40), micrograph, seed, correct=0.1), micrograph)
        assert result is None
        everywhere = np.full(40, 5000.0)
        assert found(off_by(everywhere, micrograph, seed), micrograph) is None


def test_micrographs_of_junk_are_not_of_wrong_defocus() -> None:
    """Nothing of the prediction is in their images."""
    rng = np.random.default_rng(0)
    micrograph = rng.integers(40, size=1500)
    table = off_by(np.zeros(40), micrograph, 0)
    noise = off_by(np.zeros(40), micrograph, 0, correct=0.0)
    bad = pa.array(micrograph < WRONG)
    mixed = pa.concat_tables([table.filter(pa.compute.invert(bad)), noise.filter(bad)])
    codes = np.concatenate([micrograph[micrograph >= WRONG], micrograph[micrograph < WRONG]])
    result = found(mixed, codes)
    assert result is None or result.probability.max() < 0.5


@pytest.mark.parametrize("bfactor", [1_000.0, 4_000.0])
def test_micrographs_of_other_views_are_not_of_wrong_defocus(bfactor: float) -> None:
    """Other views of a molecule match at low resolution alone."""
    for seed in range(3):
        micrograph = offsets(seed)[1]
        envelope = np.ones((40, 24))
        envelope[: 2 * WRONG] = np.exp(-0.25 * bfactor * FREQUENCY2)
        assert found(left_of(envelope, micrograph, seed), micrograph) is None


def test_bfactors_of_predictions_do_not_hide_it() -> None:
    offset, micrograph = offsets(1)
    table = off_by(offset, micrograph, 1)
    bare = found(table, micrograph)
    applied = np.where(micrograph < WRONG, 200.0, -50.0)
    factor = np.exp(-0.25 * applied[:, None] * FREQUENCY2)
    for name, power in (("inner_product", 1), ("projection_power", 2)):
        values = table_columns(table.select([name]))[name] * factor**power
        at = table.schema.get_field_index(name)
        flat = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), 24)
        table = table.set_column(at, name, flat)
    result = found(table.append_column(APPLIED_BFACTOR, pa.array(applied.astype(np.float32))), micrograph)
    assert bare is not None and result is not None
    np.testing.assert_array_equal(result.probability > 0.5, bare.probability > 0.5)


def test_particles_without_a_micrograph_and_few_micrographs_say_nothing() -> None:
    offset, micrograph = offsets(2)
    table = off_by(offset, micrograph, 2)
    whole = found(table, micrograph)
    lost = np.where(np.arange(1500) % 10 == 0, -1, micrograph)
    some = found(table, lost)
    without = found(table.filter(pa.array(lost >= 0)), micrograph[lost >= 0])
    assert whole is not None and some is not None and without is not None
    np.testing.assert_allclose(some.probability, without.probability, atol=0.05)
    assert some.of_particles(np.array([0, -1]))[1] == 0.0
    assert found(table, micrograph % 4) is None
    assert found(table, np.full(1500, -1)) is None


@pytest.mark.parametrize("number", [0, 39])
def test_a_micrograph_of_spoilt_images_alone_is_not_called_wrong(number: int) -> None:
    """Whatever its number: those of the others stay."""
    offset, micrograph = offsets(2)
    result = found(off_by(offset, micrograph, 2), micrograph, micrograph == number)
    assert result is not None and len(result.probability) == 40 and result.probability[number] < 0.5
    assert result.of_particles(micrograph).shape == micrograph.shape
    others = np.arange(40) != number
    np.testing.assert_array_equal(result.probability[others] > 0.5, (offset > 0.0)[others])


def test_images_without_band_sums_say_nothing() -> None:
    offset, micrograph = offsets(2)
    table = off_by(offset, micrograph, 2)
    unknown = np.arange(1500) % 10 == 0
    for name, values in (
        ("inner_product", np.full((1500, 24), np.nan, dtype=np.float32)),
        ("noise_factor", np.full(1500, np.nan, dtype=np.float32)),
    ):
        old = table_columns(table.select([name]))[name]
        new = np.where(unknown.reshape(-1, *[1] * (old.ndim - 1)), values, old)
        flat = pa.array(new.ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, 24) if new.ndim == 2 else flat
        some = found(table.set_column(table.schema.get_field_index(name), name, column), micrograph)
        assert some is not None
        np.testing.assert_array_equal(some.probability > 0.5, offset > 0.0)


def test_share_of_wrong_ones_is_the_likeliest() -> None:
    """Of ratios drawn from their law: N(±½ d², d²)."""
    rng = np.random.default_rng(0)
    wrong = rng.random(20_000) < 0.15
    ratio = np.where(wrong, 2.0, -2.0) + 2.0 * rng.normal(size=len(wrong))
    assert likeliest_share(ratio) == pytest.approx(0.15, abs=0.01)
    assert likeliest_share(np.full(10, 20.0)) == pytest.approx(1.0)


def test_a_particle_is_correct_only_if_its_micrograph_is() -> None:
    odds = np.array([-40.0, -1.0, 2.0, 40.0])
    faulty = np.array([0.3, 0.0, 0.9, 1.0])
    kinds = np.tile(np.float32([0.25, 0.75]), (4, 1))
    both, parts = with_faulty(odds, kinds, faulty)
    np.testing.assert_allclose(posterior(both), posterior(odds) * (1.0 - faulty), atol=1e-9)
    assert both[1] == odds[1]
    np.testing.assert_allclose(parts.sum(axis=1), 1.0, rtol=1e-6)
    # all that is incorrect of the last is its micrograph
    assert parts[3, 2] == pytest.approx(1.0) and parts[1, 2] == pytest.approx(0.0)


def test_micrographs_are_named_by_their_first_rows() -> None:
    result = WrongDefocus(np.array([0.1, 0.9, 0.99]), np.array([2000.0, 3040.0, 5060.0]), 12.3)
    told = named(result, np.array(["c", "c", "a", None, "b"], dtype=object))
    assert [(m["name"], m["offset_angstrom"]) for m in told["micrographs"]] == [("b", 5100.0), ("a", 3000.0)]
    assert told["n_micrographs"] == 3 and told["expected"] == 1.99


def test_doubt_is_that_of_micrographs_of_their_sizes() -> None:
    result = WrongDefocus(np.array([0.5, 0.0]), np.zeros(2), 5.0)
    assert result.doubt(np.array([0, 0, 0, 1, -1, -1])) == pytest.approx(0.5 * 3 / 6)
