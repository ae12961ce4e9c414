"""Residual images as files that anything can read: images, predictions and residuals, with the particles' ids."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cryocore.classify.rounds import ScoredRound
from cryocore.errors import InputError
from cryocore.log.columns import score_columns
from cryocore.log.names import TRUTH
from cryocore.log.rounds import open_round
from cryocore.maps.mrc import write_stack
from cryocore.score.images import image_pairs
from cryocore.tables.io import atomic_path, write_table

STACKS = ("image", "prediction", "residual")
AT_A_TIME = 256
TABLE = "particles.parquet"


def export_residuals(
    scored: ScoredRound, rows: NDArray[np.intp], out_dir: Path, kind: Literal["mrc", "npy"] = "mrc"
) -> list[Path]:
    """Write ``image``, ``prediction`` and ``residual`` of some particles, and ``particles.parquet``: a row per image.

    Images are float32, as large as those of the stacks and in their units. They hold the shells that are scored and are
    centred, so that the particle is at pixel ``box // 2``. The residual is image less prediction.

    Raises
    ------
    InputError  if the particles are of optics groups with different boxes.
    """
    data = scored.data
    boxes = {data.optics[g].box for g in np.unique(data.column("optics_group")[rows])}
    if len(boxes) != 1:
        raise InputError(f"images of {len(boxes)} sizes fit in no stack", fix="Choose particles of one optics group")
    (side,) = boxes
    out_dir.mkdir(parents=True, exist_ok=True)
    optics = data.optics[int(data.column("optics_group")[rows[0]])]
    suffix, other = ("mrcs", "npy") if kind == "mrc" else ("npy", "mrcs")
    files = [out_dir / f"{name}.{suffix}" for name in STACKS]
    for name in STACKS:  # of particles that the table no longer names
        (out_dir / f"{name}.{other}").unlink(missing_ok=True)
    part, every = data.take(rows), np.arange(len(rows))
    with tempfile.TemporaryDirectory(dir=out_dir, prefix=".residuals.") as spare:
        arrays = [
            np.lib.format.open_memmap(Path(spare) / f"{name}.npy", "w+", np.float32, (len(rows), side, side))
            for name in STACKS
        ]
        pairs = image_pairs(part, every, scored.weights[rows], scored.scorer.comparison, progress="residuals")
        for at, found in pairs:
            for array, values in zip(arrays, (found.image, found.prediction, found.residual), strict=True):
                array[at] = values
        for array, file in zip(arrays, files, strict=True):
            array.flush()
            if kind == "mrc":
                write_stack(file, _slices(array), optics.pixel_size_angstrom)
            else:
                with atomic_path(file) as temporary:
                    Path(str(array.filename)).replace(temporary)
    log_round = open_round(scored.scores)
    names = ["particle_id", "stack", "slice", "half", "weight", *score_columns(log_round.schema)]
    names += [name for name in (TRUTH,) if name in log_round.columns]
    table = log_round.table(names).take(pa.array(rows))
    write_table(out_dir / TABLE, table.replace_schema_metadata(None), round=scored.metadata["round"])
    return [*files, out_dir / TABLE]


def _slices(array: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(array), AT_A_TIME):
        yield np.asarray(array[start : start + AT_A_TIME])


def read_stack(path: Path) -> NDArray[Any]:
    """Images ``(n, d, d)`` of a plain ``.npy`` file, left on disk until they are used.

    Raises
    ------
    InputError  if it is no such file, or a pickle, as ``ndarray.dump`` writes: what is pickled can run as a program.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, fix="Give an existing .npy file") from None
    except (ValueError, OSError, EOFError) as error:
        pickled = path.read_bytes()[:1] == b"\x80"
        problem = (
            "it is a pickle, which could run anything when it is read" if pickled else f"not a .npy file ({error})"
        )
        fix = (
            "Convert it where it comes from; docs/how-to/use-a-classifier.md says how"
            if pickled
            else "Write it with numpy.save"
        )
        raise InputError(problem, file=path, fix=fix) from None
    if array.ndim != 3 or array.shape[1] != array.shape[2] or not np.issubdtype(array.dtype, np.number):
        raise InputError(
            f"not a stack of square images: {array.dtype} {array.shape}", file=path, fix="Give an array (n, d, d)"
        )
    return array
