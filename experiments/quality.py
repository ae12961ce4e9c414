"""The numbers of a case of unequal quality: maps of the same images by B-factors that are found, and by other ways."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from cryocore.backend import Backend
from cryocore.config.run import Config
from cryocore.explore.reslog.measure import sequence, series
from cryocore.formats.stacks import read_images
from cryocore.geometry.symmetry import point_group
from cryocore.imaging.accumulate import accumulate, symmetrise
from cryocore.imaging.grid import FourierGrid
from cryocore.imaging.solve import Solver
from cryocore.ingest.particles import ingest
from cryocore.log.bands import coefficients_noise, mean_squared_frequency
from cryocore.log.quality import Quality, quality
from cryocore.log.rounds import LogRound, open_round
from cryocore.maps.fsc import fsc, resolution_at, shell_resolution
from cryocore.maps.mrc import read_map
from cryocore.memory import Memory
from cryocore.reconstruct import reconstruct
from cryocore.reconstruct.stage import sums_grid
from cryocore.score import score
from cryocore.simulate.stage import STACK, simulate
from cryocore.tables.io import read_table
from cryocore.tables.particles import BFACTOR, SCALE, Particles
from cryocore.types import Floats, Floats32, Ints
from experiments.comparisons import EVEN, Envelopes, Run, best, cryosieve_rule, log_odds, weigh
from experiments.evaluate import read_truth

Values = dict[str, Any]
Progress = Callable[[str], None]

KEPT = (0.8, 0.5)
"""Shares of the particles that are left where the worst are dropped."""
DROPPED_BY = ("zc", "ldac")
CISTEM_ANGSTROM2 = 2.0
"""The B in Å² for which cisTEM's weights count a per cent of correlation, by default."""
CISTEM_SPREADS_ANGSTROM2 = (30.0, 100.0)
"""Standard deviations of B to which other values of it lead."""
COSTLY_SEEDS = 1
"""Seeds of which CryoSieve's rule, ResLog and what lies beyond B-factors are measured."""
RESLOG_SIZES = 5
DEFOCUS_SD_ANGSTROM = 300.0
SCALE_SPREAD = 0.3
"""Of what else may differ between micrographs: errors of the defocus, and the logarithm of the signal's scale."""


class Held:
    """A reader of images ``(n, m, m)`` in memory; see :class:`cryocore.formats.stacks.Reader`."""

    def __init__(self, images: Floats32) -> None:
        self._images = images

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def read(self, rows: NDArray[np.integer[Any]], memory: Memory | None = None) -> Floats32:
        """Images of the given rows."""
        return np.ascontiguousarray(self._images[rows])


def dull(bfactor_angstrom2: Floats) -> Envelopes:
    """Particles that differ in B alone."""
    return {BFACTOR: bfactor_angstrom2.astype(np.float32)}


@dataclass(frozen=True)
class Maps:
    """What maps of one data set are made with and measured by.

    ``images`` ``(n, m, m)``; ``mask`` and ``true`` ``(m, m, m)``; ``group`` the point group ``(k, 3, 3)``
    """

    particles: Particles
    images: Floats32
    grid: FourierGrid
    mask: Floats32
    true: Floats32
    group: Floats
    backend: Backend

    @classmethod
    def of(cls, run: Run) -> Self:
        """Those of a run whose folder holds the simulated images and whose first round has the mask."""
        particles = Particles.read(run.particles)
        images = np.asarray(read_images(run.results / STACK), dtype=np.float32)
        mask, true = (read_map(run.results / name)[0] for name in ("round_0/mask.mrc", "true_map.mrc"))
        grid, group = sums_grid(particles, run.config.reconstruct), point_group(run.config.symmetry)
        return cls(particles, images, grid, mask, true, group, run.backend)

    def measured(self, weights: Floats, envelopes: Envelopes = EVEN) -> Values:
        """What the map of particles with weights ``(n,)`` and envelopes is worth: ``area`` and ``resolution_angstrom``
        of the FSC of the mean of its half maps with the truth."""
        particles = self.particles.with_envelopes(envelopes)
        images = self.images
        sums = accumulate(particles, weights.astype(np.float32), self.grid, self.backend, source=lambda _: Held(images))
        solver = Solver(symmetrise(sums, self.group), self.group)
        curve = self._fsc_truth(0.5 * (solver.half(0) + solver.half(1)))
        shells = shell_resolution(self.grid.box, self.grid.pixel_size_angstrom)
        return {
            "area": round(float(curve[1:].mean()), 6),
            "resolution_angstrom": round(resolution_at(curve, shells, 0.5), 4),
        }

    def _fsc_truth(self, made: Floats32) -> Floats:
        return fsc(made * self.mask, self.true * self.mask)

    def reslog(self, weights: Floats, envelopes: Envelopes, seed: int) -> float | None:
        """B-factor of the resolution over the logarithm of the number of particles (Rosenthal and Henderson 2003),
        Å²; None where too few resolutions can be used."""
        particles, grid, images = self.particles.with_envelopes(envelopes), self.grid, self.images
        w = weights.astype(np.float32)
        sizes = [round(v) for v in np.geomspace(1 / 8, 1, RESLOG_SIZES) * np.count_nonzero(w)]
        about = (grid, self.mask, self.group, self.backend, lambda _: Held(images), (seed, 0), "ResLog")
        points = sequence(particles, w, sizes, *about)
        fit = series("", points, grid.box * grid.pixel_size_angstrom / grid.last_shell).fit
        return None if fit is None or fit.bfactor_angstrom2 is None else round(fit.bfactor_angstrom2, 1)


@dataclass(frozen=True)
class DataSet:
    """A simulated data set, the log of the map of all its particles, and what is known of them.

    ``weights`` : ``(n,)``, probability of being correct as the rule ``soft`` takes it
    ``bfactor_angstrom2`` : ``(n,)``, the true one, of mean 0 over the correct particles
    ``micrograph`` : ``(n,)``, its number
    """

    run: Run
    maps: Maps
    log: LogRound
    weights: Floats
    bfactor_angstrom2: Floats
    micrograph: Ints


def measure(config: Config, backend: Backend, progress: Progress) -> Values:
    """Simulate a case in a temporary folder and measure it.

    Returns
    -------
    plain values: ``n``; ``error_rate``, the planted one; ``spreads`` of B-factors as found, None where none are;
    ``correlation`` of those found with the true ones; ``maps``, how particles count -> what :meth:`Maps.measured` says,
    some with ``bfactor_angstrom2`` by ResLog; where nothing is planted ``beyond``, of the function of that name
    """
    with tempfile.TemporaryDirectory(prefix="cryocore-quality-") as name:
        progress("simulate and score")
        folder = Path(name)
        common: Values = {"symmetry": config.symmetry, "seed": config.seed, "backend": backend}
        simulate(config.input.simulate, config.input.plant, out_dir=folder, **common)
        particles = ingest(folder / "particles.star", root=None, pixel_size_angstrom=None, seed=config.seed)
        data = scored(replace(particles, root=str(folder)), config, backend, folder)
        found = quality(data.log, seed=config.seed)
        progress("maps")
        values = {
            "n": len(data.weights),
            "error_rate": round(float(1.0 - data.run.correct.mean()), 6),
            "spreads": None if found is None else found.as_dict(),
            "correlation": correlation(data, found),
            "maps": {**by_bfactors(data, found), **by_others(data, progress)},
        }
        even = not data.bfactor_angstrom2.any() and not config.input.plant.total
        if even and config.seed < COSTLY_SEEDS:
            progress("beyond B-factors")
            values["beyond"] = beyond(data)
        return values


def scored(particles: Particles, config: Config, backend: Backend, folder: Path) -> DataSet:
    """Particles of a folder with simulated images, maps and truth, after the first round."""
    table, maps, log = folder / "particles.parquet", folder / "round_0", folder / "log.parquet"
    particles.write(table)
    common: Values = {"symmetry": config.symmetry, "backend": backend}
    maps.mkdir(exist_ok=True)
    reconstruct(table, None, None, settings=config.reconstruct, out_dir=maps, **common)
    score(table, maps, None, settings=config.score, round_number=0, seed=config.seed, out=log, **common)
    correct, _ = read_truth(folder / "truth.parquet", particles)
    run = Run(folder, config, folder / "true_map.mrc", correct, particles.column("half"), backend, folder)
    odds = log_odds(log)
    weights = np.ones(len(particles)) if odds is None else weigh(np.nan_to_num(odds))
    truth = read_table(folder / "truth.parquet")
    own = truth.column(BFACTOR).to_numpy() if BFACTOR in truth.column_names else np.zeros(len(particles))
    micrograph = particles.codes("micrograph")[0]
    return DataSet(run, Maps.of(run), open_round(log, beside=[]), weights, own - own[correct].mean(), micrograph)


def correlation(data: DataSet, found: Quality | None) -> float | None:
    """Of B-factors that are found with the true ones, over the correct particles; None where either do not differ."""
    if found is None or not data.bfactor_angstrom2.any():
        return None
    own, correct = found.bfactor_angstrom2.astype(np.float64), data.run.correct
    return round(float(np.corrcoef(own[correct], data.bfactor_angstrom2[correct])[0, 1]), 4)


def by_bfactors(data: DataSet, found: Quality | None) -> Values:
    """Maps of the same particles and weights: without B-factors, with envelopes that are found, the true B-factors, and
    those that the data allow to know; of the first seeds the first three have a B-factor by ResLog."""
    envelopes: dict[str, Envelopes] = {"equal": EVEN}
    if found is not None:
        envelopes["found"] = found.columns()
    if data.bfactor_angstrom2.any():
        envelopes |= {"true": dull(data.bfactor_angstrom2), "known": dull(known(data))}
    maps = {name: data.maps.measured(data.weights, own) for name, own in envelopes.items()}
    seed = data.run.config.seed
    for name in ("equal", "found", "true") if seed < COSTLY_SEEDS else ():
        if name in maps:
            maps[name]["bfactor_angstrom2"] = data.maps.reslog(data.weights, envelopes[name], seed)
    return maps


def by_others(data: DataSet, progress: Progress) -> Values:
    """Maps without the worst particles by a score, by cisTEM's weights and, of the first seeds, by CryoSieve's rule
    after its last round."""
    half = data.run.half
    found = {}
    for name in DROPPED_BY:
        values = data.log.values(name).astype(np.float64)
        for share in KEPT:
            counts = {h: round(share * np.count_nonzero(half == h)) for h in (1, 2)}
            kept = best(values, half, counts).astype(np.float64)
            found[f"{name}_{100 * share:.0f}"] = data.maps.measured(kept)
    if data.run.config.seed < COSTLY_SEEDS:
        rule = cryosieve_rule(data.run, self_contribution=True, progress=progress)
        found["cryosieve"] = {"area": rule["rounds"][-1]["fsc_truth_area"]}
    per_cent = cistem_scores(data.log)
    below = per_cent.mean() - per_cent
    found["cistem"] = weighed_by_resolution(data, CISTEM_ANGSTROM2 * below)
    for spread in CISTEM_SPREADS_ANGSTROM2:
        found[f"cistem_{spread:g}"] = weighed_by_resolution(data, spread / below.std() * below)
    return found


def known(data: DataSet) -> Floats:
    """B-factors ``(n,)`` as well as they can be known: the true ones with a random error of the standard deviation that
    the band sums' information leaves, drawn to their mean by their own spread.

    The members of a micrograph within a half set share an error where B is that of micrographs.
    """
    settings, true = data.run.config.input.simulate, data.bfactor_angstrom2
    shared = settings.micrograph_bfactor_sd_angstrom2 > 0
    spread = max(settings.micrograph_bfactor_sd_angstrom2, settings.particle_bfactor_sd_angstrom2)
    names = data.micrograph if shared else np.arange(len(true))
    node = np.unique(2 * names + data.run.half % 2, return_inverse=True)[1]
    told = np.bincount(node, weights=data.run.correct * information(data.log, true))
    error2 = 1.0 / np.maximum(told, 1e-12)
    noise = np.sqrt(error2) * np.random.default_rng(data.run.config.seed).normal(size=len(told))
    return np.asarray((spread**2 / (spread**2 + error2))[node] * (true + noise[node]))


def band_columns(log: LogRound, *names: str) -> tuple[Floats, Floats, list[Floats]]:
    """Signal share ``(bands,)``, noise power and columns of a log ``(n, bands)``."""
    needed = ["optics_group", "noise_factor", *names, *(["noise_power"] if "noise_power" in log.columns else [])]
    columns = log.read(needed)
    share = np.asarray(log.metadata["signal_share"])
    return share, coefficients_noise(log.metadata, columns), [columns[name].astype(np.float64) for name in names]


def information(log: LogRound, bfactor_angstrom2: Floats) -> Floats:
    """What the band sums of each particle say of its B, ``(n,)`` in 1/Å⁴: one over the least variance of an
    estimate."""
    share, noise, (projection_power,) = band_columns(log, "projection_power")
    frequency2 = mean_squared_frequency(log.metadata)
    envelope2 = np.exp(-0.5 * bfactor_angstrom2[:, None] * frequency2)
    return np.asarray(np.sum((0.25 * frequency2 * share) ** 2 * envelope2 * projection_power / noise, axis=1))


def cistem_scores(log: LogRound) -> Floats:
    """Correlation of image and prediction in per cent, bands weighted by their signal share over their noise."""
    share, noise, sums = band_columns(log, "image_power", "projection_power", "inner_product")
    a, e, c = (np.sum(share / noise * values, axis=1) for values in sums)
    return np.asarray(100.0 * c / np.sqrt(np.maximum(a * e, 1e-30)))


def weighed_by_resolution(data: DataSet, bfactor_angstrom2: Floats) -> Values:
    """The map in which samples count by exp(-B s²/4) beside the square of their CTF, whatever their signal.

    A weight w in both sums is an image and a CTF that are multiplied by √w.
    """
    half_of_it = dull(0.5 * bfactor_angstrom2)
    images = fallen_off(data.maps.images, half_of_it[BFACTOR], data.maps.grid.pixel_size_angstrom)
    return replace(data.maps, images=images).measured(data.weights, half_of_it)


def fallen_off(images: Floats32, bfactor_angstrom2: Floats32, pixel_size_angstrom: float) -> Floats32:
    """Images ``(n, m, m)`` whose transforms are multiplied by exp(-B s²/4), each by a B of its own ``(n,)``."""
    side = images.shape[-1]
    y, x = (f(side, pixel_size_angstrom) for f in (scipy.fft.fftfreq, scipy.fft.rfftfreq))
    square = (y[:, None] ** 2 + x**2).astype(np.float32)
    out = np.empty_like(images)
    for image, bfactor, target in zip(images, bfactor_angstrom2, out, strict=True):
        target[:] = scipy.fft.irfft2(scipy.fft.rfft2(image) * np.exp(-0.25 * bfactor * square), s=(side, side))
    return out


def beyond(data: DataSet) -> Values:
    """What else the micrographs of a set of even B may differ by, and what it is worth to know it: FSC areas.

    Returns
    -------
    ``defocus``: where recorded defoci are off, ``equal``, with ``found`` B-factors, and with the ``true`` defoci;
    ``scale``: of :func:`of_scales`
    """
    rng = np.random.default_rng([data.run.config.seed, 5])
    offset = rng.normal(size=data.run.config.input.simulate.n_micrographs)
    return {
        "defocus": of_wrong_defocus(data, DEFOCUS_SD_ANGSTROM * offset[data.micrograph]),
        "scale": of_scales(data, SCALE_SPREAD),
    }


def of_wrong_defocus(data: DataSet, error_angstrom: Floats) -> Values:
    """FSC areas where recorded defoci are off by ``(n,)`` Å: without envelopes, with those that are found, and with the
    true defoci."""
    folder = data.run.folder / "defocus"
    folder.mkdir()
    for name in ("truth.parquet", "true_map.mrc", STACK):
        (folder / name).symlink_to((data.run.folder / name).resolve())
    config = data.run.config
    off = scored(with_defocus(data.maps.particles, error_angstrom), config, data.run.backend, folder)
    maps = replace(off.maps, mask=data.maps.mask)
    return {
        "equal": maps.measured(off.weights)["area"],
        "found": maps.measured(off.weights, envelopes_of(off))["area"],
        "true": data.maps.measured(off.weights)["area"],
    }


def envelopes_of(data: DataSet) -> Envelopes:
    """What the log of a data set gives its particles."""
    found = quality(data.log, seed=data.run.config.seed)
    return EVEN if found is None else found.columns()


def with_defocus(particles: Particles, error_angstrom: Floats) -> Particles:
    """Particles recorded at another defocus, off by ``(n,)`` Å."""
    table = particles.table
    for name in ("defocus_u_angstrom", "defocus_v_angstrom"):
        at, values = table.schema.get_field_index(name), particles.column(name)
        table = table.set_column(at, table.schema.field(at), [(values + error_angstrom).astype(values.dtype)])
    return replace(particles, table=table)


def of_scales(data: DataSet, spread: float) -> Values:
    """FSC areas where the logarithm of micrographs' signal has a standard deviation ``spread``: without knowing it,
    with the envelopes that are found, and with the true scales."""
    config = data.run.config
    faint = config.input.simulate.model_copy(update={"micrograph_scale_spread": spread})
    common: Values = {"symmetry": config.symmetry, "seed": config.seed, "backend": data.run.backend}
    with tempfile.TemporaryDirectory(dir=data.run.folder) as name:
        folder = Path(name)
        simulate(faint, config.input.plant, out_dir=folder, **common)
        images = np.asarray(read_images(folder / STACK), dtype=np.float32)
        scaled = scored(replace(data.maps.particles, root=name), config, data.run.backend, folder)
        truth, found = read_table(folder / "truth.parquet"), envelopes_of(scaled)
    maps = replace(data.maps, images=images)
    true = {SCALE: truth.column(SCALE).to_numpy()} if SCALE in truth.column_names else EVEN
    return {
        "equal": maps.measured(scaled.weights)["area"],
        "found": maps.measured(scaled.weights, found)["area"],
        "true": maps.measured(scaled.weights, true)["area"],
    }


def gain(values: Values, name: str, kind: str = "area") -> float | None:
    """FSC area of a map less that of equal weights; B-factors that are not found gain 0. None: not measured."""
    maps = values["maps"]
    if name not in maps or kind not in maps[name]:
        return 0.0 if name == "found" else None
    return float(maps[name][kind] - maps["equal"][kind])


def headline(values: Values) -> str:
    """A case in one line: what the B-factors that are found gain, and what the true ones do."""
    area, found, true = values["maps"]["equal"]["area"], gain(values, "found"), gain(values, "true")
    return f"FSC area {area:.4f}, found B {found:+.4f}" + ("" if true is None else f", true B {true:+.4f}")
