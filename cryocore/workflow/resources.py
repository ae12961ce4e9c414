"""What a job needs, by its stage and the size of the data: memory and time, asked of a cluster, kept to on one machine.

The coefficients are measured (docs/measurements/cost.md); ``tests/workflow/test_resources.py`` holds them to it.
"""

from __future__ import annotations

import errno
import math
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryocore.config.reconstruct import ITERATIVE_BYTES, ITERATIVE_PADDED_BYTES, LARGE_SUMS_BYTES
from cryocore.config.run import Config
from cryocore.formats import BATCH_BYTES
from cryocore.tables.io import open_table, table_metadata

SNAKEMAKE_MB = 250
"""What Snakemake itself takes in each job of a cluster."""
SPARE_MEMORY, SPARE_TIME = 1.2, 6.0
"""Requests over what is expected; times differ more from machine to machine."""
START_MIN = 5.0
"""Starts of Python and Snakemake, and the compilation of kernels on their first use."""
START_SHORT_MIN = 1.0
"""The same of each of the many stages of one job."""
BYTES_PER_ROW = 150
"""Of a file of particles; fewer than they have, so that particles are overestimated."""
BATCHES = 4
"""Batches of images at work at the same time."""
MOST_PIXELS = 4.0e7
"""Of all images that a stage keeps."""
MERGE_US_PADDED = 0.02
"""CPU microseconds per voxel of the padded grid for adding the sums of a shard."""
OUTSIDE_PADDED = 12.0
"""Bytes per voxel of the padded grid for what is outside of a region."""
STATES_MOST, STATES_SHELLS = 10_000, 16
"""Particles and shells of the search for a second state, at most."""
STATES_BYTES, STATES_SHELL_BYTES = 62_000, 790
"""What it keeps of a particle: by itself, and by the square of its shells."""
USUAL_BOX = 256
"""Pixels a side, where nothing is known of the images yet."""
SHORT_CPU_S = 1200.0
"""All rounds of less are one job of a cluster."""
MIB = 2**20


@dataclass(frozen=True)
class Size:
    """``n`` particles of ``box`` pixels a side, the largest of the optics groups."""

    n: int
    box: int


@dataclass(frozen=True)
class Need:
    """What a stage takes.

    ``base_mb`` : whatever the data, MiB
    ``batch_mb`` : for the images at work, MiB, where there are BATCHES full batches of them
    ``pixel`` : bytes per pixel of all images, up to MOST_PIXELS
    ``padded`` : bytes per voxel of the padded grid; with symmetry ``padded_symmetric``, if it is another number
    ``in_turn`` : the part of these that is left where the sums of one half set are held at a time
    ``voxel`` : bytes per voxel of a map
    ``particle`` : bytes per particle
    ``cpu_ms`` : CPU milliseconds per particle of box 128; other boxes by their area
    ``cpu_us_padded`` : CPU microseconds per voxel of the padded grid
    ``cpu_us_particle`` : CPU microseconds per particle, whatever its box
    ``most`` : particles whose images are looked at, at most
    ``in_parts`` : particles are those of the job's shard
    """

    base_mb: float
    batch_mb: float = 0.0
    pixel: float = 0.0
    padded: float = 0.0
    in_turn: float = 1.0
    padded_symmetric: float = 0.0
    voxel: float = 0.0
    particle: float = 0.0
    cpu_ms: float = 0.0
    cpu_us_padded: float = 0.0
    cpu_us_particle: float = 0.0
    most: float = math.inf
    in_parts: bool = False


NEEDS: dict[str, Need] = {
    "simulate": Need(200, 100, padded=14, particle=1000, cpu_ms=3.0, cpu_us_padded=0.1),
    "join": Need(240, particle=2000, cpu_us_particle=50),
    "plant": Need(240, particle=2000, cpu_us_particle=50),
    "ingest": Need(240, particle=1000, cpu_us_particle=50),
    "truth": Need(130, particle=100, cpu_us_particle=5),
    "cache": Need(180, 370, particle=300, cpu_ms=1.0, in_parts=True),
    "sum": Need(180, 370, padded=14, particle=300, cpu_ms=1.0, cpu_us_padded=0.2, in_parts=True),
    "reconstruct": Need(
        180, 370, padded=18, in_turn=0.62, padded_symmetric=28, particle=300, cpu_ms=1.0, cpu_us_padded=0.5
    ),
    "solve": Need(
        700,
        400,
        padded=ITERATIVE_PADDED_BYTES,
        voxel=ITERATIVE_BYTES,
        particle=600,
        cpu_ms=60.0,
        cpu_us_padded=20.0,
    ),
    "examine": Need(230, pixel=12, particle=300, cpu_ms=3.0, most=5000),
    "noise": Need(200, 150, padded=10, particle=300, cpu_ms=1.0, cpu_us_padded=0.2, most=100_000),
    "score": Need(200, 250, padded=10, particle=500, cpu_ms=6.0, cpu_us_padded=0.1, in_parts=True),
    "classify": Need(640, 600, padded=42, particle=4000, cpu_ms=30.0),
    "gather": Need(195, particle=1500, cpu_us_particle=30),
    "select": Need(185, particle=1500, cpu_us_particle=50),
    "validate": Need(170, voxel=40, particle=1500, cpu_us_particle=50, cpu_us_padded=0.1),
    "look": Need(
        420,
        370,
        padded=24,
        in_turn=0.3,
        padded_symmetric=34,
        voxel=60,
        particle=700,
        cpu_ms=2.0,
        cpu_us_padded=1.5,
        cpu_us_particle=1000,
    ),
    "report": Need(800, voxel=40, particle=1200, cpu_us_particle=300, cpu_us_padded=0.5),
    "refine": Need(600, 400, padded=120, voxel=100, particle=3000, cpu_ms=1500.0, cpu_us_padded=50.0),
    "refined": Need(250),
    "audit": Need(400, 370, padded=60, particle=4000, voxel=60, cpu_ms=25.0, cpu_us_padded=10.0, cpu_us_particle=3000),
}


def memory_mb(stage: str, size: Size, config: Config) -> int:
    """Memory that a stage is expected to take on its first try, MiB, without Snakemake.

    >>> memory_mb("score", Size(10_000, 128), Config()) < memory_mb("score", Size(10_000, 256), Config())
    True
    """
    need = NEEDS[stage]
    n = _of_job(need, size, config)
    pixels = n * size.box**2
    images = need.batch_mb * min(1.0, 4 * pixels / (BATCHES * BATCH_BYTES))
    padded = need.padded_symmetric if need.padded_symmetric and config.symmetry != "C1" else need.padded
    merges = stage == "reconstruct" and config.n_shards > 1  # sums of both half sets
    if 12 * _padded_voxels(size, config) > LARGE_SUMS_BYTES and not merges:
        padded *= need.in_turn
    arrays = padded * _padded_voxels(size, config) + need.voxel * size.box**3 + need.particle * n
    arrays += need.pixel * min(pixels, MOST_PIXELS)
    if stage == "look":
        arrays += _of_states(size)
    if config.score.region is not None and stage in ("score", "noise", "look", "classify"):
        arrays += OUTSIDE_PADDED * _padded_voxels(size, config)
    return math.ceil(need.base_mb + images + arrays / MIB)


def _of_states(size: Size) -> float:
    """Bytes of the search for a second state, for pixels as large as any box has them."""
    shells = min(STATES_SHELLS, size.box / 4)
    return (STATES_BYTES + STATES_SHELL_BYTES * shells**2) * min(size.n, STATES_MOST)


def cpu_seconds(stage: str, size: Size, config: Config) -> float:
    """CPU time that a stage is expected to take, seconds, without its start."""
    need = NEEDS[stage]
    n = _of_job(need, size, config)
    merges = stage == "reconstruct" and config.n_shards > 1  # and reads no image
    of_images = 0.0 if merges else 1e-3 * need.cpu_ms * (size.box / 128) ** 2 * min(n, need.most)
    us_padded = need.cpu_us_padded + (MERGE_US_PADDED * config.n_shards if merges else 0.0)
    return of_images + 1e-6 * (need.cpu_us_particle * n + us_padded * _padded_voxels(size, config))


def of_rounds(config: Config) -> tuple[str, ...]:
    """The stages of a round of a data set in one part.

    >>> of_rounds(Config())
    ('reconstruct', 'score', 'select', 'validate')
    """
    solver = "reconstruct" if config.reconstruct.method == "direct" else "solve"
    return (solver, "score", "select", "validate", *(("classify",) if config.classify.model != "none" else ()))


def is_short(config: Config) -> bool:
    """Whether all rounds are expected to take minutes, so that on a cluster they are better one job than several.

    >>> is_short(Config())
    True
    """
    if config.n_shards > 1:
        return False
    files, simulated = config.input.files, config.input.simulate
    n = sum(os.path.getsize(file) for file in files if os.path.exists(file)) // BYTES_PER_ROW
    size = Size(n, USUAL_BOX) if files else Size(simulated.n_particles, simulated.box)
    of_round = sum(cpu_seconds(stage, size, config) for stage in of_rounds(config))
    return (config.n_rounds + 1) * of_round < SHORT_CPU_S


def request_mb(stage: str, size: Size, config: Config, attempt: int = 1, limit: float = math.inf) -> int:
    """Memory to ask for, MiB: with room, more on each attempt, and no more than ``limit``."""
    wanted = SNAKEMAKE_MB + SPARE_MEMORY * memory_mb(stage, size, config)
    return int(min(attempt * math.ceil(wanted / 10) * 10, limit))


def request_min(
    stage: str,
    size: Size,
    config: Config,
    threads: int = 1,
    attempt: int = 1,
    limit: float = math.inf,
    start_min: float = START_MIN,
) -> int:
    """Time to ask for, minutes. Half of the work at least is taken to go on one thread only."""
    seconds = cpu_seconds(stage, size, config) / min(threads, 2)
    return int(max(min(attempt * math.ceil(start_min + SPARE_TIME * seconds / 60), limit), 1))


def size_of_data(config: Config, particles: str | Path, sources: tuple[str, ...] = ()) -> Size:
    """The size of a data set: of a simulation by its settings, else by the particle table, else by files of particles.

    ``sources`` : files of particles that are there before the table is; their box is that of the simulation's default,
    which no stage that reads them goes by.

    Raises
    ------
    FileNotFoundError  where nothing tells yet; Snakemake then asks again before the job starts.
    """
    simulated = config.input.simulate
    if config.input.star is None:
        return Size(simulated.n_particles, simulated.box)
    if sources:
        return Size(sum(os.path.getsize(file) for file in sources) // BYTES_PER_ROW, simulated.box)
    if not os.path.exists(particles):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(particles))
    return _size_of_table(str(particles), os.stat(particles).st_mtime_ns)


@lru_cache(maxsize=4)
def _size_of_table(name: str, _changed: int) -> Size:
    """The rows of a particle table, and the largest box of its optics groups."""
    with open_table(name) as table:
        boxes = [group["box"] for group in table_metadata(table.schema_arrow)["optics"]]
        return Size(table.metadata.num_rows, max(boxes))


def _of_job(need: Need, size: Size, config: Config) -> int:
    return math.ceil(size.n / config.n_shards) if need.in_parts else size.n


def _padded_voxels(size: Size, config: Config) -> float:
    return float((config.reconstruct.padding * size.box) ** 3)
