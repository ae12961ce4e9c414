"""B-factors of particles: band sums drawn from their law, and what is found in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cryocore.log.bands import mean_squared_frequency
from cryocore.log.names import APPLIED_BFACTOR, APPLIED_SCALE
from cryocore.log.quality import Bands, Beliefs, Grid, Likelihood, Quality, Spreads, Tree, fit, quality, spread_out
from cryocore.log.quality_within import Within, is_noise_of_the_map, noise_in_the_map, variance_of_products
from cryocore.log.rounds import LogRound, open_round
from cryocore.tables.io import with_metadata
from cryocore.types import Floats

BOX, PIXEL, N = 64, 2.0, 1500
METADATA: dict[str, Any] = {
    "band_edges": [*range(1, 26)],
    "box": BOX,
    "pixel_size_angstrom": PIXEL,
    "noise_power": [[1.0] * 24, [1.0] * 24],
    "signal_share": (1.0 / (1.0 + np.exp((np.arange(24) - 15) / 2.0))).tolist(),
    "score_settings": {"noise_per_particle": True},
}
FREQUENCY2 = mean_squared_frequency(METADATA)


def drawn(
    bfactor: Floats,
    micrograph: Floats,
    seed: int,
    *,
    correct: float = 1.0,
    strength: float = 4.0,
    scale: Floats | float = 1.0,
) -> pa.Table:
    """A log of particles with B-factors and scales ``(n,)``, whose noise is independent and of the same power in each
    coefficient.

    The map that predicts has noise itself, as its signal share says; images of incorrect particles do not show it.
    """
    rng, n = np.random.default_rng([seed, 8]), len(bfactor)
    share = np.asarray(METADATA["signal_share"])
    signal = strength * rng.uniform(0.5, 1.5, (n, 1)) * np.linspace(2.0, 0.5, 24)
    is_correct = rng.random(n) < correct
    envelope = np.exp(-0.25 * bfactor[:, None] * FREQUENCY2) * (scale * is_correct)[:, None]
    power = signal / share
    columns = {
        "particle_id": np.arange(n, dtype=np.uint64),
        "half": (1 + np.arange(n) % 2).astype(np.int8),
        "optics_group": np.zeros(n, dtype=np.int32),
        "mixture": np.where(is_correct, 6.0, -6.0).astype(np.float32),
        "noise_factor": np.ones(n, dtype=np.float32),
    }
    table = pa.table(columns).append_column(
        "micrograph", pa.array([f"m{m:.0f}" for m in micrograph]).dictionary_encode()
    )
    for name, values in (
        ("inner_product", envelope * signal + np.sqrt(power) * rng.normal(size=signal.shape)),
        ("projection_power", power),
    ):
        flat = pa.array(values.astype(np.float32).ravel())
        table = table.append_column(name, pa.FixedSizeListArray.from_arrays(flat, 24))
    return table


def estimated(folder: Path, table: pa.Table, *, row_group: int = 700, **changes: Any) -> Quality | None:
    pq.write_table(with_metadata(table, **{**METADATA, **changes}), folder / "log.parquet", row_group_size=row_group)
    return quality(open_round(folder / "log.parquet", beside=[]))


def on_micrographs(seed: int, sd: float, n: int = N, count: int = 40) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    micrograph = rng.integers(count, size=n).astype(np.float64)
    return rng.normal(0.0, sd, count)[micrograph.astype(int)] if sd else np.zeros(n), micrograph


def counted_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows by 1 whenever band sums of a log are read."""
    reads: list[int] = []
    row_groups = LogRound.row_groups

    def counted(log_round: LogRound, names: list[str]) -> Any:
        reads.append(1)
        return row_groups(log_round, names)

    monkeypatch.setattr(LogRound, "row_groups", counted)
    return reads


def test_nothing_is_found_where_there_is_nothing(tmp_path: Path) -> None:
    found = [estimated(tmp_path, drawn(*on_micrographs(seed, 0.0), seed)) for seed in range(20)]
    assert sum(q is None for q in found) >= 19
    assert all(q is None or np.abs(q.bfactor_angstrom2).max() < 60.0 for q in found)


def test_micrographs_that_differ_are_found(tmp_path: Path) -> None:
    """The spread, and B-factors whose truth is what they say in the mean: slope 1."""
    slopes, spreads = [], []
    for seed in range(6):
        bfactor, micrograph = on_micrographs(seed, 80.0)
        found = estimated(tmp_path, drawn(bfactor, micrograph, seed))
        assert found is not None and found.spreads.optics_group == 0.0
        values = found.bfactor_angstrom2
        assert np.corrcoef(values, bfactor)[0, 1] > 0.8
        slopes.append(np.polyfit(values, bfactor, 1)[0])
        spreads.append(found.spreads.micrograph)
    assert np.mean(slopes) == pytest.approx(1.0, abs=0.1)
    assert np.mean(spreads) == pytest.approx(80.0, rel=0.25)


def test_particles_that_differ_within_micrographs_are_found(tmp_path: Path) -> None:
    """Means of micrographs differ by 120 / √19 alone; the particles' own are found as well as their images tell."""
    _, micrograph = on_micrographs(0, 0.0)
    bfactor = np.random.default_rng(3).normal(0.0, 120.0, N)
    found = estimated(tmp_path, drawn(bfactor, micrograph, 0, strength=20.0))
    assert found is not None and found.spreads.micrograph < 60.0
    assert 90.0 < found.spreads.particle < 130.0
    off = (found.bfactor_angstrom2 - bfactor) / found.sd_angstrom2
    assert np.corrcoef(found.bfactor_angstrom2, bfactor)[0, 1] > 0.8
    assert 0.9 < off.std() < 1.15
    assert np.polyfit(found.bfactor_angstrom2, bfactor, 1)[0] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("seed", range(4))
def test_errors_of_single_bands_are_no_spread_of_particles(tmp_path: Path, seed: int) -> None:
    """Predictions that are off by a fifth, in each band and particle by itself; to a likelihood they look like B."""
    _, micrograph = on_micrographs(seed, 0.0)
    table = drawn(np.zeros(N), micrograph, seed, strength=20.0)
    off = 1.0 + 0.2 * np.random.default_rng(seed).normal(size=(N, 24))
    product, power = (np.stack(table[name].to_numpy()) for name in ("inner_product", "projection_power"))
    assert estimated(tmp_path, with_column(table, "inner_product", in_lists(off * product))) is None
    share = np.asarray(METADATA["signal_share"])
    given = share * off * product, share**2 * power
    evidence = [Within(spread, 0.01, FREQUENCY2).evidence(*given).sum() for spread in (0.1, 20.0)]
    assert evidence[1] > evidence[0] + 50.0


def test_predictions_of_another_map_are_no_spread_of_particles(tmp_path: Path) -> None:
    """Whose bands are off together, far beyond what a B-factor does."""
    _, micrograph = on_micrographs(0, 0.0)
    table = drawn(np.zeros(N), micrograph, 0, strength=20.0)
    slope = np.random.default_rng(3).normal(0.0, 3.0, N)[:, None] * np.linspace(-1.0, 1.0, 24)
    product, power = (np.stack(table[name].to_numpy()) for name in ("inner_product", "projection_power"))
    share = np.asarray(METADATA["signal_share"])
    off = product + slope * power * share
    found = estimated(tmp_path, with_column(table, "inner_product", in_lists(off)))
    assert found is None or found.spreads.particle == 0.0
    variance, error = variance_of_products(share * off, share**2 * power, np.ones(N), FREQUENCY2)
    assert variance > 10.0 * error


MILD = np.linspace(1.0, 0.3, 24)
"""The share of signal in a map whose noise is as large as its signal at the end."""


def there_twice(table: pa.Table, part: float) -> pa.Table:
    """Where some particles find their own noise in the map of their half set."""
    share = np.asarray(METADATA["signal_share"])
    product, power = (np.stack(table[name].to_numpy()) for name in ("inner_product", "projection_power"))
    twice = (np.random.default_rng(7).random(N) < part)[:, None]
    return with_column(table, "inner_product", in_lists(product + twice * (1.0 - share) * power))


def as_given(table: pa.Table) -> tuple[Floats, Floats, Floats]:
    """What the bands of a table say, and what particles count."""
    share = np.asarray(METADATA["signal_share"])
    product, power = (np.stack(table[name].to_numpy()) for name in ("inner_product", "projection_power"))
    return share * product, share**2 * power, np.ones(N)


@pytest.mark.parametrize("part", [0.15, 0.3])
@pytest.mark.parametrize("strength", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(2))
def test_noise_in_the_map_is_no_spread_of_particles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, strength: float, part: float
) -> None:
    monkeypatch.setitem(METADATA, "signal_share", MILD.tolist())
    _, micrograph = on_micrographs(seed, 0.0)
    table = there_twice(drawn(np.zeros(N), micrograph, seed, strength=strength), part)
    given = as_given(table)
    taken_for_one = Within.of(*given, FREQUENCY2, scale=0.05, most=500.0)
    assert taken_for_one is not None and taken_for_one.spread > 40.0
    assert estimated(tmp_path, table) is None
    found, added = noise_in_the_map(*given, MILD, 0.05)
    assert found == pytest.approx(part, abs=0.08) and added > 20.0


def test_where_no_noise_is_shared_there_is_no_such_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METADATA, "signal_share", MILD.tolist())
    _, micrograph = on_micrographs(0, 0.0)
    given = as_given(drawn(np.zeros(N), micrograph, 0, strength=1.0))
    part, added = noise_in_the_map(*given, MILD, 0.05)
    assert part <= 0.01 and added < 0.0
    assert noise_in_the_map(*given, np.ones(24), 0.05)[1] == pytest.approx(0.0, abs=1e-6)
    how: dict[str, Any] = {"scale": 0.05, "most": 500.0}
    assert not is_noise_of_the_map(*given, FREQUENCY2, signal_share=MILD, **how)


@pytest.mark.parametrize("spread", [60.0, 120.0])
def test_a_spread_of_particles_is_found_beside_a_few_that_are_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spread: float
) -> None:
    monkeypatch.setitem(METADATA, "signal_share", MILD.tolist())
    _, micrograph = on_micrographs(0, 0.0)
    bfactor = np.random.default_rng(3).normal(0.0, spread, N)
    found = estimated(tmp_path, there_twice(drawn(bfactor, micrograph, 0, strength=2.0), 0.02))
    assert found is not None and found.spreads.particle > 0.6 * spread
    assert np.corrcoef(found.bfactor_angstrom2, bfactor)[0, 1] > 0.6


def test_incorrect_particles_have_no_bfactor_of_their_own(tmp_path: Path) -> None:
    _, micrograph = on_micrographs(0, 0.0)
    table = drawn(np.random.default_rng(3).normal(0.0, 120.0, N), micrograph, 0, strength=20.0, correct=0.8)
    incorrect = table["mixture"].to_numpy() < 0
    found = estimated(tmp_path, table)
    assert found is not None and found.spreads.particle > 50.0
    nodes = np.unique(2 * micrograph.astype(int) + np.arange(N) % 2, return_inverse=True)[1]
    mean = np.bincount(nodes, weights=found.bfactor_angstrom2) / np.bincount(nodes)
    own = found.bfactor_angstrom2 - mean[nodes]
    of_nodes = [found.bfactor_angstrom2[incorrect & (nodes == k)] for k in range(nodes.max() + 1)]
    assert max(np.ptp(values) for values in of_nodes if len(values)) < 2.0 < 80.0 < own[~incorrect].std()
    assert np.all(found.sd_angstrom2[incorrect] > 0.95 * found.spreads.particle)


def test_particles_that_are_not_fitted_have_the_same_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spreads come from a sample of whole micrographs, B-factors from each particle."""
    _, micrograph = on_micrographs(0, 0.0)
    bfactor = np.random.default_rng(3).normal(0.0, 120.0, N)
    table = drawn(bfactor, micrograph, 0, strength=20.0)
    monkeypatch.setattr("cryocore.log.quality.SAMPLE", 900)
    found = estimated(tmp_path, table, row_group=333)
    assert found is not None and found.n_fitted < N
    assert np.corrcoef(found.bfactor_angstrom2, bfactor)[0, 1] > 0.8


def test_optics_groups_that_differ_are_found(tmp_path: Path) -> None:
    _, micrograph = on_micrographs(0, 0.0)
    group = (micrograph >= 20).astype(np.int32)
    table = drawn(300.0 * group, micrograph, 1)
    at = table.schema.get_field_index("optics_group")
    found = estimated(tmp_path, table.set_column(at, "optics_group", pa.array(group)))
    assert found is not None
    means = [found.bfactor_angstrom2[group == g].mean() for g in (0, 1)]
    assert means[1] - means[0] == pytest.approx(300.0, rel=0.25)


def test_spoilt_images_say_nothing(tmp_path: Path) -> None:
    """What is in them would look like B-factors of their micrographs."""
    bfactor, micrograph = on_micrographs(4, 80.0)
    table = drawn(bfactor, micrograph, 4)
    spoilt = np.random.default_rng(4).random(N) < 0.1
    values = np.asarray(table["inner_product"].combine_chunks().flatten()).reshape(N, 24).copy()
    values[spoilt, :3] += 60.0
    at = table.schema.get_field_index("inner_product")
    flat = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), 24)
    kinds = pa.array(np.where(spoilt, "spoilt", "correct")).dictionary_encode()
    found = estimated(tmp_path, table.set_column(at, "inner_product", flat).append_column("likely_kind", kinds))
    alone = estimated(tmp_path, table.filter(pa.array(~spoilt)))
    assert found is not None and alone is not None
    np.testing.assert_allclose(found.bfactor_angstrom2[~spoilt], alone.bfactor_angstrom2, atol=3.0)


def test_incorrect_particles_have_the_bfactor_of_their_micrograph(tmp_path: Path) -> None:
    """They say nothing: the others give what they give without them."""
    bfactor, micrograph = on_micrographs(2, 80.0)
    table = drawn(bfactor, micrograph, 2, correct=0.8)
    found = estimated(tmp_path, table)
    alone = estimated(tmp_path, table.filter(pa.array(table["mixture"].to_numpy() > 0)))
    assert found is not None and alone is not None
    correct = table["mixture"].to_numpy() > 0
    np.testing.assert_allclose(found.bfactor_angstrom2[correct], alone.bfactor_angstrom2, atol=2.0)
    assert np.corrcoef(found.bfactor_angstrom2[~correct], bfactor[~correct])[0, 1] > 0.8


def test_the_mean_of_each_half_set_is_zero(tmp_path: Path) -> None:
    found = estimated(tmp_path, drawn(*on_micrographs(4, 80.0), 4))
    assert found is not None
    assert all(abs(found.bfactor_angstrom2[h::2].mean()) < 0.1 for h in (0, 1))


def test_row_groups_do_not_matter(tmp_path: Path) -> None:
    table = drawn(*on_micrographs(5, 80.0), 5)
    one, many = (estimated(tmp_path, table, row_group=size) for size in (N, 97))
    assert one is not None and many is not None
    np.testing.assert_allclose(one.bfactor_angstrom2, many.bfactor_angstrom2, atol=0.011)


def test_predictions_that_have_bfactors_already(tmp_path: Path) -> None:
    """What is found is the whole, not the rest."""
    bfactor, micrograph = on_micrographs(6, 80.0)
    table = drawn(bfactor, micrograph, 6)
    plain = estimated(tmp_path, table)
    applied = 0.7 * bfactor
    envelope = np.exp(-0.25 * applied[:, None] * FREQUENCY2)
    for name, power in (("inner_product", 1), ("projection_power", 2)):
        values = np.stack(table[name].to_numpy()) * envelope**power
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), 24)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    again = estimated(tmp_path, table.append_column(APPLIED_BFACTOR, pa.array(applied.astype(np.float32))))
    assert plain is not None and again is not None
    assert np.corrcoef(plain.bfactor_angstrom2, again.bfactor_angstrom2)[0, 1] > 0.99
    assert np.polyfit(plain.bfactor_angstrom2, again.bfactor_angstrom2, 1)[0] == pytest.approx(1.0, abs=0.1)


def test_half_sets_know_nothing_of_each_other() -> None:
    """At given spreads, whatever happens to one half set changes nothing in the other."""
    rng = np.random.default_rng(7)
    energy = rng.uniform(0.5, 2.0, (600, 24))
    matched = energy + np.sqrt(energy) * rng.normal(size=energy.shape)
    node = np.arange(600) % 20
    tree = Tree(group=np.arange(20) % 2, half=np.array([0, 1]))
    grid, spreads = Grid.of(FREQUENCY2, energy.sum(axis=0)), Spreads(0.0, 70.0, 0.2, 0.1)
    means: list[list[Floats]] = []
    for factor in (1.0, 0.2):
        changed = np.where(node[:, None] % 2 == 1, factor, 1.0) * matched
        bands = Bands(changed, energy, np.ones(600), node)
        beliefs = Beliefs.of(Likelihood.of(bands, grid, spreads.scale, 20), tree, spreads, grid)
        means.append([beliefs.bfactors()[0][node], beliefs.scales()[0][node]])
    even = node % 2 == 0
    for one, other, least in zip(*means, (20.0, 0.2), strict=True):
        assert np.array_equal(one[even], other[even])
        assert np.abs(one[~even] - other[~even]).mean() > least


def test_scales_are_integrated_as_by_quadrature() -> None:
    """The closed forms against sums over the scale of the micrograph and those of its particles."""
    rng = np.random.default_rng(8)
    bands = Bands(rng.normal(0.3, 0.2, (4, 24)), rng.uniform(0.1, 0.3, (4, 24)), np.ones(4), np.zeros(4, dtype=int))
    grid, within, between = Grid.of(FREQUENCY2, np.ones(24)), 0.3, 0.2
    n, d = bands.matched @ grid.envelope.T, bands.energy @ (grid.envelope**2).T
    steps = np.linspace(-8.0, 8.0, 401)
    density = np.exp(-0.5 * steps**2) / np.exp(-0.5 * steps**2).sum()
    of_micrograph = []
    for g in 1.0 + between * steps:
        scale = g + within * steps
        of_particles = np.exp(n[..., None] * scale - 0.5 * d[..., None] * scale**2) @ density
        of_micrograph.append(np.log(of_particles).sum(axis=0))
    logs = np.array(of_micrograph)
    found = Likelihood.of(bands, grid, within, 1)
    np.testing.assert_allclose(found.integrated(between)[0], np.log(density @ np.exp(logs)), atol=1e-6)
    likely = density[:, None] * np.exp(logs)
    likely /= likely.sum(axis=0)
    mean, sd = (values[0] for values in found.scale(between))
    np.testing.assert_allclose(mean, (1.0 + between * steps) @ likely, atol=1e-6)
    np.testing.assert_allclose(sd**2, (between * steps) ** 2 @ likely - (mean - 1.0) ** 2, atol=1e-6)


def test_micrographs_that_are_faint_are_found(tmp_path: Path) -> None:
    """The spread of the scale, and scales whose truth is what they say in the mean; no B-factors."""
    within, spreads, half = [], [], np.arange(N) % 2
    for seed in range(6):
        _, micrograph = on_micrographs(seed, 0.0)
        of_micrograph = np.exp(np.random.default_rng([seed, 9]).normal(0.0, 0.25, 40))
        scale = of_micrograph[micrograph.astype(int)]
        found = estimated(tmp_path, drawn(np.zeros(N), micrograph, seed, scale=scale))
        assert found is not None and not found.spreads.of_bfactors
        assert not found.bfactor_angstrom2.any() and not found.sd_angstrom2.any()
        relative = scale / np.array([scale[half == h].mean() for h in (0, 1)])[half]
        assert np.polyfit(found.scale, relative, 1)[0] == pytest.approx(1.0, abs=0.12)
        assert all(abs(found.scale[half == h].mean() - 1.0) < 1e-3 for h in (0, 1))
        rows = np.unique(micrograph * 2 + half, return_index=True)[1]
        within.append(np.abs(found.scale - relative)[rows] < 1.96 * found.scale_sd[rows])
        spreads.append(found.spreads.micrograph_scale)
    assert 0.90 < np.concatenate(within).mean() < 0.99
    assert np.mean(spreads) == pytest.approx(0.25, abs=0.06)


def test_micrographs_that_are_scaled_as_a_whole_are_alike(tmp_path: Path) -> None:
    """With their noise, and so no reason to weigh them."""
    _, micrograph = on_micrographs(2, 0.0)
    scale = np.exp(np.random.default_rng(12).normal(0.0, 0.25, 40))[micrograph.astype(int)]
    table = drawn(np.zeros(N), micrograph, 2)
    products = np.stack(table["inner_product"].to_numpy()) * scale[:, None]
    flat = pa.FixedSizeListArray.from_arrays(pa.array(products.astype(np.float32).ravel()), 24)
    for name, values in (("inner_product", flat), ("noise_factor", pa.array((scale**2).astype(np.float32)))):
        table = table.set_column(table.schema.get_field_index(name), name, values)
    assert estimated(tmp_path, table) is None
    same_noise = table.set_column(table.schema.get_field_index("noise_factor"), "noise_factor", pa.array(np.ones(N)))
    assert estimated(tmp_path, same_noise) is not None


def test_noise_that_the_scores_did_not_take_is_no_difference(tmp_path: Path) -> None:
    """Where ``score.noise_per_particle`` is off, images have the noise of their optics group, here truly."""
    bfactor, micrograph = on_micrographs(3, 0.0)
    table = drawn(bfactor, micrograph, 3)
    factor = (0.5 + micrograph / 20.0).astype(np.float32)
    table = table.set_column(table.schema.get_field_index("noise_factor"), "noise_factor", pa.array(factor))
    assert estimated(tmp_path, table, score_settings={"noise_per_particle": False}) is None


def with_column(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    """A table with a column in place of that of its name, or behind all."""
    at = table.schema.get_field_index(name)
    return table.append_column(name, values) if at < 0 else table.set_column(at, name, values)


def in_lists(values: Floats) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), values.shape[1])


def test_scaling_is_no_difference_where_noise_is_that_of_micrographs(tmp_path: Path) -> None:
    """``score.noise: micrograph``: the factor of an image does not show how its micrograph is scaled."""
    _, micrograph = on_micrographs(2, 0.0)
    scale = np.exp(np.random.default_rng(12).normal(0.0, 0.25, 40))[micrograph.astype(int), None]
    table = drawn(np.zeros(N), micrograph, 2)
    table = with_column(table, "inner_product", in_lists(np.stack(table["inner_product"].to_numpy()) * scale))
    noise = np.repeat(scale**2, 24, axis=1)
    noise[:, 23] = np.nan
    assert estimated(tmp_path, with_column(table, "noise_power", in_lists(noise))) is None
    assert estimated(tmp_path, with_column(table, "noise_power", in_lists(np.ones((N, 24))))) is not None


def test_optics_groups_that_are_scaled_as_a_whole_are_alike(tmp_path: Path) -> None:
    """One of them is twice as strong, and knows fewer bands; a third has no particle."""
    _, micrograph = on_micrographs(2, 0.0)
    group = (micrograph >= 20).astype(np.int32)
    table = with_column(drawn(np.zeros(N), micrograph, 2), "optics_group", pa.array(group))
    products = np.stack(table["inner_product"].to_numpy()) * (1.0 + group)[:, None]
    table = with_column(table, "inner_product", in_lists(products))
    noise = [[1.0] * 24, [4.0] * 22 + [None] * 2, [None] * 24]
    assert estimated(tmp_path, table, noise_power=noise) is None
    assert estimated(tmp_path, table, noise_power=[[1.0] * 24] * 3) is not None


def test_faint_and_dull_are_told_apart(tmp_path: Path) -> None:
    bfactor, micrograph = on_micrographs(3, 80.0)
    scale = np.exp(np.random.default_rng(10).normal(0.0, 0.25, 40))[micrograph.astype(int)]
    found = estimated(tmp_path, drawn(bfactor, micrograph, 3, scale=scale))
    assert found is not None and found.spreads.of_bfactors and found.spreads.micrograph_scale > 0.1
    assert np.corrcoef(found.bfactor_angstrom2, bfactor)[0, 1] > 0.75
    assert np.corrcoef(found.scale, scale)[0, 1] > 0.85


def test_predictions_that_have_scales_already(tmp_path: Path) -> None:
    """What is found is the whole, not the rest."""
    _, micrograph = on_micrographs(6, 0.0)
    scale = np.exp(np.random.default_rng(11).normal(0.0, 0.25, 40))[micrograph.astype(int)]
    table = drawn(np.zeros(N), micrograph, 6, scale=scale)
    plain, applied = estimated(tmp_path, table), scale**0.7
    for name, power in (("inner_product", 1), ("projection_power", 2)):
        values = np.stack(table[name].to_numpy()) * applied[:, None] ** power
        column = pa.FixedSizeListArray.from_arrays(pa.array(values.astype(np.float32).ravel()), 24)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    again = estimated(tmp_path, table.append_column(APPLIED_SCALE, pa.array(applied.astype(np.float32))))
    assert plain is not None and again is not None
    np.testing.assert_allclose(again.scale, plain.scale, atol=0.02)


def test_micrographs_that_are_not_fitted_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10,000 micrographs some hundreds are drawn."""
    rows, node = [], 3 * np.arange(60)

    def counted(values: Floats, kernel: Floats) -> Floats:
        rows.append(len(values))
        return spread_out(values, kernel)

    monkeypatch.setattr("cryocore.log.quality.spread_out", counted)
    rng = np.random.default_rng(13)
    energy = rng.uniform(0.5, 2.0, (60, 24))
    bands = Bands(energy + rng.normal(0.0, 2.0, energy.shape), energy, np.ones(60), node)
    grid = Grid.of(FREQUENCY2, energy.sum(axis=0))
    found = fit(bands, Tree(np.arange(10_000) % 2, np.array([0, 1])), grid)
    assert rows and max(rows) == 60
    assert found == fit(replace(bands, node=np.arange(60)), Tree(node % 2, np.array([0, 1])), grid)


@pytest.mark.parametrize(("count", "sd"), [(150, 0.28), (500, 0.14), (500, 0.25)])
def test_images_of_unequal_brightness_are_no_faint_micrographs(tmp_path: Path, count: int, sd: float) -> None:
    """A spread of particles is not made up of two where it lies between the values that are tried first."""
    _, micrograph = on_micrographs(0, 0.0, count=count)
    scale = 1.0 + np.random.default_rng([0, 77]).normal(0.0, sd, N)
    assert estimated(tmp_path, drawn(np.zeros(N), micrograph, 0, scale=scale)) is None


def test_spreads_between_grid_points_are_none() -> None:
    bands = Bands(np.ones((4, 24)), np.ones((4, 24)), np.ones(4), np.arange(4))
    grid = Grid.of(FREQUENCY2, np.ones(24))
    assert not fit(bands, Tree(np.array([0, 1, 0, 1]), np.array([0, 1])), grid).found


@pytest.mark.parametrize("missing", ["mixture", "inner_product", "noise_factor"])
def test_logs_that_do_not_say(tmp_path: Path, missing: str) -> None:
    table = drawn(*on_micrographs(9, 80.0), 9)
    assert estimated(tmp_path, table.drop_columns([missing])) is None
    assert estimated(tmp_path, table.slice(0, 60)) is None


def test_intervals_hold_what_they_say(tmp_path: Path) -> None:
    """480 halves of micrographs: 95 of 100 lie within 1.96 standard deviations of the truth."""
    within, half = [], np.arange(N) % 2
    for seed in range(6):
        bfactor, micrograph = on_micrographs(seed, 80.0)
        found = estimated(tmp_path, drawn(bfactor, micrograph, seed))
        assert found is not None
        rows = np.unique(micrograph * 2 + half, return_index=True)[1]
        relative = bfactor - np.array([bfactor[half == h].mean() for h in (0, 1)])[half]
        error = found.bfactor_angstrom2[rows] - relative[rows]
        within.append(np.abs(error) < 1.96 * found.sd_angstrom2[rows])
    assert 0.90 < np.concatenate(within).mean() < 0.99


def test_band_sums_are_read_once_where_all_particles_are_fitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = counted_reads(monkeypatch)
    assert estimated(tmp_path, drawn(*on_micrographs(5, 80.0), 5)) is not None
    assert reads == [1]


def test_what_was_found_stays_unless_the_data_speak_against_it(tmp_path: Path) -> None:
    """A weak spread that fails the test is kept where predictions have B-factors."""
    applied = pa.array(np.where(np.arange(N) % 2, 1.0, -1.0).astype(np.float32))
    weak, alike = (drawn(*on_micrographs(7, sd), 7) for sd in (17.0, 0.0))
    assert estimated(tmp_path, weak) is None
    found = estimated(tmp_path, weak.append_column(APPLIED_BFACTOR, applied))
    assert found is not None and found.spreads.micrograph > 0.0
    assert estimated(tmp_path, alike.append_column(APPLIED_BFACTOR, applied)) is None
