"""Text logs of one line per particle: quaternion, correct flag and loss.

A line may begin with what Python's ``logging`` puts there (``INFO:root:``, ``2021-03-04 12:00:01,123 INFO name:`` and
the like). What follows is four numbers, a flag and a loss, in this order or with flag and loss by their labels
(``loss=0.5 correct=1 q=[...]``), and blanks, commas, brackets or words between them; an integer before them is the
particle's number. A line that names an iteration, epoch or round and no particle begins another one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryocore.errors import InputError

_NUMBER = r"[-+]?(?:\d++(?:\.\d*+)?|\.\d++)(?:[eE][-+]?\d++)?"  # digits are not given back: lines may be long
_FLAG = r"true|false|none|null|nan|[-+]?[01](?:\.0*)?"
_TRUTH = {
    "true": 1,
    "correct": 1,
    "right": 1,
    "false": 0,
    "incorrect": 0,
    "wrong": 0,
    "none": -1,
    "null": -1,
    "nan": -1,
}
_LABELS = {
    "loss": rf"(?:l2_)?loss|l2|error|mse|cost)\b\W{{0,3}}(?:tensor\()?\W?(?P<value>{_NUMBER}|nan|[-+]?inf",
    "flag": rf"(?:is_?)?(?:correct|right)|flag|label)\b\W{{0,3}}(?:tensor\()?\W?(?P<value>{_FLAG}",
    "index": r"index|idx|id|particle|image|img)\b\W{0,3}(?P<value>\d{1,18}",
    "round": r"iteration|iter|epoch|round)\b\W{0,3}(?P<value>\d{1,9}",
}
_LABELLED = {name: re.compile(rf"\b(?:{rest})(?!\.?\w)\)?", re.IGNORECASE) for name, rest in _LABELS.items()}
_VALUE = re.compile(rf"(?<![\w.])(?:{_NUMBER}|[-+]?inf|{'|'.join(_TRUTH)})(?!\.?\w)", re.IGNORECASE)
_TENSOR = re.compile(r"\b(?:device|dtype|requires_grad|grad_fn)=[^,)\]]+", re.IGNORECASE)
_AFTER = r"\]?[\s:|]*(?:-\s)?"
_DATE, _CLOCK = r"(?:\d{4}[-/]\d\d[-/]\d\d[T ]?)?", r"(?:\d\d:\d\d:\d\d(?:[.,]\d+)?)?(?:Z|[+-]\d\d:?\d\d)?"
_TIME = re.compile(rf"\s*\[?{_DATE}{_CLOCK}{_AFTER}")
_LEVELS = r"(?:DEBUG|INFO|WARNING|WARN|ERROR|CRITICAL|FATAL)"
_LEVEL = re.compile(rf".{{0,120}}?(?<![A-Za-z]){_LEVELS}(?![A-Za-z]){_AFTER}")
_NAME, _FILE = r"[A-Za-z_][\w./\-]*(?::\d+)?[\])]?\s*(?::|\||-(?=\s))", r"[\w./\-]+\.py:\d+[\])]?"
_ORIGIN = re.compile(rf"\s*[\[(]?(?:{_FILE}\s*(?::|\||-\s)?|{_NAME})")
FEWEST = 3
"""A line of fewer values than this is a message, which has to do with no particle."""
NORM_TOLERANCE = 0.05
"""How far the norm of a quaternion may be from 1."""


class _Malformed(ValueError):
    """Why a line is no particle."""


@dataclass(frozen=True)
class ParticleLine:
    """One particle: quaternion as in the file, flag (1, 0, -1 unknown), loss, and what a line may say beside these."""

    quaternion: tuple[float, float, float, float]
    flag: int
    loss: float
    index: int | None = None
    round: int | None = None


@dataclass(frozen=True)
class Fault:
    """A line (from 1) that is no particle, its text and why; ``message`` where it does not look like one either."""

    line: int
    text: str
    why: str
    message: bool


@dataclass
class TextRound:
    """The particles of one iteration; ``place`` counts them from 0, malformed ones too, ``index`` is the line's own."""

    number: int
    place: list[int] = field(default_factory=list)
    index: list[int | None] = field(default_factory=list)
    quaternion: list[tuple[float, float, float, float]] = field(default_factory=list)
    flag: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seen: int = 0


@dataclass(frozen=True)
class TextLog:
    """A parsed file."""

    rounds: tuple[TextRound, ...]
    faults: tuple[Fault, ...]

    @property
    def n_particles(self) -> int:
        """Lines that are particles."""
        return sum(len(r.place) for r in self.rounds)

    @property
    def has_own_numbers(self) -> bool:
        """Whether every line has a particle number, once in each round."""
        return all(None not in r.index and len(set(r.index)) == len(r.index) for r in self.rounds)

    @property
    def n_malformed(self) -> int:
        """Lines that should have been."""
        return sum(not f.message for f in self.faults)


def read_text_log(path: Path, first_round: int = 0) -> TextLog:
    """Read a text log, line by line; ``first_round`` is the number of an iteration that the file does not name.

    Raises
    ------
    InputError  if the file cannot be read or is binary.
    """
    rounds: dict[int, TextRound] = {}
    faults: list[Fault] = []
    current = first_round
    for number, text in _lines(path):
        body = without_prefix(text)
        if not body.strip():
            continue
        try:
            found = parse_particle(body)
        except _Malformed as reason:
            header, n_values = _LABELLED["round"].search(body), len(_VALUE.findall(body))
            if header and n_values < FEWEST:
                current = int(header["value"])
            else:
                message = n_values < FEWEST
                faults.append(Fault(number, text, str(reason), message))
                if not message:
                    rounds.setdefault(current, TextRound(current)).seen += 1
            continue
        where = current if found.round is None else found.round
        into = rounds.setdefault(where, TextRound(where))
        into.place.append(into.seen)
        into.index.append(found.index)
        into.seen += 1
        into.quaternion.append(found.quaternion)
        into.flag.append(found.flag)
        into.loss.append(found.loss)
    return TextLog(tuple(rounds[n] for n in sorted(rounds) if rounds[n].place), tuple(faults))


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for number, text in enumerate(file, start=1):
                if "\0" in text:
                    raise InputError("not a text file", file=path, remedy="Give a text log of one line per particle")
                yield number, text.rstrip("\r\n")
    except FileNotFoundError:
        raise InputError("file does not exist", file=path, remedy="Give an existing log") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", file=path, remedy="Check its permissions") from None


def without_prefix(text: str) -> str:
    """A line without what ``logging`` puts before the message.

    >>> without_prefix("INFO:root:1 0 0 0 1 0.5"), without_prefix("2021-03-04 12:00:01,123 - fit - INFO - 1 0 0")
    ('1 0 0 0 1 0.5', '1 0 0')
    """
    level = _LEVEL.match(text)
    rest = text if level is None else text[level.end() :]
    time = _TIME.match(rest)
    rest = rest[time.end() :] if time else rest
    for _ in range(2 if level else 0):
        origin = _ORIGIN.match(rest)
        if origin and not any(label.match(rest.lstrip()) for label in _LABELLED.values()):
            rest = rest[origin.end() :]
    return rest


def parse_particle(body: str) -> ParticleLine:
    """The particle of a line without prefix.

    >>> parse_particle("quat=[1.0, 0.0, 0.0, 0.0], correct=True, loss=tensor(0.25)")
    ParticleLine(quaternion=(1.0, 0.0, 0.0, 0.0), flag=1, loss=0.25, index=None, round=None)
    """
    body, given = _TENSOR.sub("", body), {}
    for name, pattern in _LABELLED.items():
        found = pattern.search(body)
        if found:
            given[name] = found["value"]
            body = body[: found.start()] + " " + body[found.end() :]
    values = _VALUE.findall(body)
    missing = [name for name in ("flag", "loss") if name not in given]
    if len(values) == 5 + len(missing) and "index" not in given and values[0].isdigit() and len(values[0]) < 19:
        given["index"] = values.pop(0)
    if len(values) != 4 + len(missing):
        raise _Malformed(f"{len(values) + 2 - len(missing)} values, not 6: a quaternion, a flag and a loss")
    given |= dict(zip(missing, values[4:], strict=True))
    w, x, y, z = (_number(v, "quaternion") for v in values[:4])
    norm = math.sqrt(w * w + x * x + y * y + z * z)
    if not abs(norm - 1.0) <= NORM_TOLERANCE:
        raise _Malformed(f"the quaternion's norm is {norm:.4g}, not 1")
    loss = _number(given["loss"], "loss")
    return ParticleLine(
        (w / norm, x / norm, y / norm, z / norm),
        _flag(given["flag"]),
        loss if math.isfinite(loss) else math.nan,
        int(given["index"]) if "index" in given else None,
        int(given["round"]) if "round" in given else None,
    )


def _flag(text: str) -> int:
    word = text.lower()
    if word in _TRUTH:
        return _TRUTH[word]
    value = _number(text, "flag")
    if value not in (0.0, 1.0, -1.0):
        raise _Malformed(f"the flag is {text}, not 0 or 1")
    return int(value)


def _number(text: str, name: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _Malformed(f"the {name} is {text!r}, no number") from None
