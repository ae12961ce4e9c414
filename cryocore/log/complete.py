"""What follows from all scores of a round together: the mixture's log odds and the error rate, written with them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.special import expit

from cryocore.log.bands import BAND_SUMS
from cryocore.log.columns import table_columns
from cryocore.log.defocus import TOLD, WrongDefocus, wrong_defocus
from cryocore.log.error_rate import ErrorRate, estimate_from
from cryocore.log.evidence import MIXTURE_COLUMNS, NEEDED_COLUMNS, evidence, outlying
from cryocore.log.mixture import FEWEST, by_kind, fit_evidence, odds
from cryocore.log.names import APPLIED_BFACTOR, APPLIED_SCALE, LIKELY_KIND, MIXTURE, SPOILT, WRONG_DEFOCUS
from cryocore.log.prior import COVARIATE_COLUMNS, GROUP_COLUMNS, group_effects, numbers
from cryocore.log.signal import signal_of
from cryocore.statistics import posterior
from cryocore.tables.io import open_table, read_schema, read_table, table_metadata, write_tables
from cryocore.tables.particles import IMAGE
from cryocore.types import Floats, Floats32

log = logging.getLogger(__name__)


def write_log(out: Path, parts: Sequence[Path], *, seed: int) -> None:
    """Write the log of a round: the rows of its scores, part after part, with ``mixture`` and the error rate.

    The scores that the mixture reads are in memory for all particles; of the others, one row group at a time.

    Parameters
    ----------
    parts : tables of scores, of the same columns and metadata
    seed : of what the mixture is fitted to where there are many particles, and of the interval of the error rate
    """
    schema = read_schema(parts[0])

    def read(*names: str) -> dict[str, NDArray[Any]]:
        known = [name for name in names if name in schema.names]
        return table_columns(pa.concat_tables(read_table(part, known) for part in parts))

    # one after the other, so that not all is in memory twice
    columns = read(*GROUP_COLUMNS)
    columns |= {name: values.astype(np.float32) for name, values in read(*COVARIATE_COLUMNS).items()}
    columns |= read("particle_id", "half", IMAGE, *MIXTURE_COLUMNS, "random_pose_z")
    metadata = table_metadata(schema)
    defocus = _defocus(parts, schema, metadata, columns)
    found = assessed(columns, seed, metadata.get("symmetry"), defocus)
    odds, rate = found.odds.astype(np.float32), found.error_rate
    kinds = pa.DictionaryArray.from_arrays(found.kind, list(found.kinds))
    signal = signal_of(columns) if "z" in columns else None
    if rate is not None and signal is not None and signal.is_missing:
        rate = rate.of_chance()

    def tables() -> Iterator[pa.Table]:
        start = 0
        for rows in _row_groups(parts):
            stop = start + len(rows)
            rows = rows.append_column(MIXTURE, pa.array(odds[start:stop]))
            yield rows.append_column(LIKELY_KIND, kinds[start:stop])
            start = stop

    write_tables(
        out,
        tables(),
        error_rate=rate and rate.as_dict(),
        signal=signal and signal.as_dict(),
        kinds=found.kinds_expected,
        wrong_defocus=defocus and named(defocus, columns["micrograph"]),
    )
    if rate is not None:
        low, value, high = (100 * v for v in (rate.low, rate.value, rate.high))
        log.info("error rate %.1f %% (%.1f to %.1f)%s", value, low, high, f"; {rate.note}" if rate.note else "")


@dataclass(frozen=True)
class Assessed:
    """What all scores of a round say together.

    ``odds`` : ``(n,)``, log odds of being correct; NaN where the scores do not say
    ``kind`` : ``(n,)``, what a particle most probably is, an index of ``kinds``; the last are "spoilt" and "unknown"
    ``error_rate`` : None where no particle has a score
    ``confusion`` : ``(k, k)``, how many of the particles that are most probably of a kind (rows; not the last two) are
        expected to be of each; None where no particle has a score
    """

    odds: Floats
    kind: NDArray[np.int8]
    kinds: tuple[str, ...]
    error_rate: ErrorRate | None
    confusion: Floats | None = None

    @property
    def kinds_expected(self) -> dict[str, dict[str, float]] | None:
        """``confusion`` by name, for JSON."""
        if self.confusion is None:
            return None
        named = zip(self.kinds, self.confusion.round(1).tolist(), strict=False)
        return {kind: dict(zip(self.kinds, row, strict=False)) for kind, row in named}


def _defocus(
    parts: Sequence[Path], schema: pa.Schema, metadata: dict[str, Any], columns: Mapping[str, NDArray[Any]]
) -> WrongDefocus | None:
    needed = {"micrograph", "optics_group", *NEEDED_COLUMNS, *BAND_SUMS}
    if not needed <= {*schema.names}:
        return None
    optional = ("noise_power", APPLIED_BFACTOR, APPLIED_SCALE)
    names = ["optics_group", *BAND_SUMS, *(name for name in optional if name in schema.names)]
    micrograph, spoilt = numbers(columns["micrograph"]), outlying(columns)
    return wrong_defocus(lambda: map(table_columns, _row_groups(parts, names)), metadata, micrograph, spoilt)


def _row_groups(parts: Sequence[Path], names: list[str] | None = None) -> Iterator[pa.Table]:
    """The row groups of all parts, one in memory at a time; of all columns, or of some."""
    for path in parts:
        with open_table(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, columns=names)


def named(defocus: WrongDefocus, micrograph: NDArray[Any]) -> dict[str, Any]:
    """The micrographs whose defocus is wrong, for JSON, the surest first; ``micrograph`` ``(n,)`` is that of each
    particle."""
    codes = numbers(micrograph)
    first = np.unique(codes, return_index=True)[1][-len(defocus.probability) :]
    told = [i for i in np.argsort(-defocus.probability, kind="stable") if defocus.probability[i] > TOLD]
    return {
        "gain": round(defocus.gain, 2),
        "expected": round(float(defocus.probability.sum()), 2),
        "n_micrographs": len(defocus.probability),
        "micrographs": [
            {
                "name": str(micrograph[first[i]]),
                "probability": round(float(defocus.probability[i]), 4),
                "offset_angstrom": round(float(defocus.offset_angstrom[i]), -2),
            }
            for i in told
        ],
    }


def assessed(
    columns: Mapping[str, NDArray[Any]], seed: int, symmetry: str | None = None, defocus: WrongDefocus | None = None
) -> Assessed:
    """Fit the mixture to a round, and say what its particles are.

    ``columns`` are particle_id, half, and those of the mixture and of its prior, as far as there are any; ``symmetry``
    is the point group; ``defocus`` says which micrographs have a wrong one, and ``columns`` then have the micrographs.
    """
    ids, half = columns["particle_id"], columns["half"]
    nothing = Assessed(np.full(len(ids), np.nan), np.zeros(len(ids), dtype=np.int8), ("unknown",), None)
    if any(name not in columns for name in NEEDED_COLUMNS):
        return nothing
    data = evidence(columns, symmetry)
    if not data.known.any():
        return nothing
    model = fit_evidence(data, ids=ids, seed=seed)
    ratio, prior, kinds = by_kind(model, data)
    of_each = odds(model, ratio, prior)
    known = np.flatnonzero(data.known)
    for name in GROUP_COLUMNS if len(known) >= FEWEST else ():
        if name in columns:
            group = numbers(columns[name])
            members = known[group[known] >= 0]
            prior[members] += group_effects(ratio[members], prior[members], group[members])
    log_odds, likely, classes, doubt = odds(model, ratio, prior), expit(ratio[known] + prior[known]), model.classes, 0.0
    if defocus is not None:
        micrograph = numbers(columns["micrograph"])
        faulty, doubt = defocus.of_particles(micrograph), defocus.doubt(micrograph[known])
        likely *= 1.0 - faulty[known]
        log_odds, kinds = with_faulty(log_odds, kinds, faulty)
        classes = (*classes, WRONG_DEFOCUS)
    share = float(1.0 - np.mean(np.sort(likely)))  # the same sum in any order of rows
    images = columns.get(IMAGE, ids)
    rate = estimate_from(data, model, of_each, columns, ids=images, half=half, seed=seed, share=share, doubt=doubt)
    kind = (1 + kinds.argmax(axis=1)).astype(np.int8)
    kind[log_odds > 0] = 0
    kind[data.spoilt] = len(classes)
    kind[~data.known] = len(classes) + 1
    return Assessed(log_odds, kind, (*classes, SPOILT, "unknown"), rate, confusion_of(log_odds, kinds, kind))


def with_faulty(log_odds: Floats, kinds: Floats32, faulty: Floats) -> tuple[Floats, Floats32]:
    """Log odds of being correct ``(n,)``, and how likely each kind is if not ``(n, k + 1)``, once a particle is correct
    only if its micrograph is.

    Parameters
    ----------
    log_odds : (n,)  by what the particle itself scores
    kinds : (n, k)  how likely each kind of error is if it is incorrect by that
    faulty : (n,)  probability that the micrograph is wrong; the last kind of the result

    >>> odds, kinds = with_faulty(np.array([0.0]), np.array([[1.0]], dtype=np.float32), np.array([0.5]))
    >>> (1.0 / (1.0 + np.exp(-odds))).round(3).tolist(), kinds.round(3).tolist()
    ([0.25], [[0.6669999957084656, 0.3330000042915344]])
    """
    faulty = np.clip(faulty, 1e-300, 1.0 - 1e-12)
    beside = np.logaddexp(0.0, log_odds + np.log(faulty))
    by_micrograph = np.exp(log_odds + np.log(faulty) - beside).astype(np.float32)
    own = kinds * (1.0 - by_micrograph)[:, None]
    return log_odds + np.log1p(-faulty) - beside, np.column_stack([own, by_micrograph])


def confusion_of(log_odds: Floats, kinds: Floats32, kind: NDArray[np.int8]) -> Floats:
    """How many of the particles that are most probably of each class are expected to be of each, ``(classes,
    classes)``.

    Parameters
    ----------
    log_odds : (n,)  of being correct; NaN for particles without a score
    kinds : (n, classes - 1)  how likely each kind of error is if the particle is incorrect
    kind : (n,)  what each most probably is; ``classes`` or more for those that are not counted

    >>> confusion_of(np.array([2.2, -2.2]), np.array([[1.0], [1.0]], dtype=np.float32), np.array([0, 1])).round(1)
    array([[0.9, 0.1],
           [0.1, 0.9]])
    """
    classes = kinds.shape[1] + 1
    likely = posterior(log_odds)
    parts = np.column_stack([likely, (1.0 - likely)[:, None] * kinds])
    return np.stack([np.sort(parts[kind == k], axis=0).sum(axis=0) for k in range(classes)])
