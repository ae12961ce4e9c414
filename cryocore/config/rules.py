"""All that there is to know of each rule: its name, what it ranks by, which values it takes, and a line about it.

Configuration, schema, documentation and the help of commands are made of it; a rule is an entry here and a function of
the same name in ``cryocore.select.rules``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryocore.log.names import MIXTURE, PROBABILITY

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cryocore.select.rules import Candidates, Weights


@dataclass(frozen=True)
class Values:
    """What the values of a rule may be.

    ``default`` : one per round, the last of which stays
    ``least``, ``most`` : bounds; ``above`` : ``least`` itself is out of them; ``whole`` : no fractions

    >>> str(Values((0.7,), most=1.0, above=True)), str(Values((0.0,), least=-math.inf)), str(COUNTS)
    ('numbers > 0 and ≤ 1', 'numbers', 'whole numbers ≥ 2')
    >>> [value in COUNTS for value in (1.0, 2.0, 2.5)]
    [False, True, False]
    """

    default: tuple[float, ...]
    least: float = 0.0
    most: float = math.inf
    above: bool = False
    whole: bool = False

    def __contains__(self, value: float) -> bool:
        least = value > self.least if self.above else value >= self.least
        return least and value <= self.most and (not self.whole or value == int(value))

    def __str__(self) -> str:
        bounds = [f"{'>' if self.above else '≥'} {self.least:g}"] if math.isfinite(self.least) else []
        bounds += [f"≤ {self.most:g}"] if math.isfinite(self.most) else []
        return " ".join(["whole numbers" if self.whole else "numbers", " and ".join(bounds)]).strip()


def rates(*default: float) -> Values:
    """From 0 to 1."""
    return Values(default, most=1.0)


def shares(*default: float) -> Values:
    """Above 0, up to 1."""
    return Values(default, most=1.0, above=True)


def positive(default: float) -> Values:
    """Above 0."""
    return Values((default,), above=True)


COUNTS = Values((1000.0,), least=2.0, whole=True)


@dataclass(frozen=True)
class Rule:
    """How particles are chosen by a value per round.

    ``name`` : of its function in ``cryocore.select.rules``
    ``values`` : what the value may be
    ``keeps``, ``when`` : as text, what is kept and when that is of use
    ``score`` : what it ranks by; None: what ``select.score`` says
    ``grouped_by`` : what candidates are grouped by, a key of ``cryocore.select.groups.BIN_COLUMNS``; None: nothing
    ``goes_on`` : whether weights go on from those of the round before
    ``listed`` : the least weight of what is selected; 0: whatever has a weight
    """

    name: str
    values: Values
    keeps: str
    when: str
    score: str | None = None
    grouped_by: str | None = None
    goes_on: bool = False
    listed: float = 0.0

    @property
    def weigh(self) -> Callable[[Candidates, float], Weights]:
        """The function from candidates and a value to weights ``(n,)``, 0 for what is dropped."""
        from cryocore.select import rules  # it needs NumPy, which settings and help do without

        function: Callable[[Candidates, float], Weights] = getattr(rules, self.name)
        return function

    def selected(self, weights: Weights) -> NDArray[np.bool_]:
        """Which particles are on the list, ``(n,)``.

        >>> import numpy as np
        >>> RULES["soft"].selected(np.array([1.0, 0.5, 0.1, 0.0])).tolist()
        [True, True, False, False]
        >>> RULES["huber"].selected(np.array([1.0, 0.5, 0.1, 0.0])).tolist()
        [True, True, True, False]
        """
        return (weights > 0) & (weights >= self.listed)


_ALL = (
    Rule(
        "soft",
        rates(0.05),
        keeps="all with p at or above the value, each with weight p",
        when="the default: no share has to be guessed, and doubtful particles count by their probability",
        score=MIXTURE,
        listed=0.5,
    ),
    Rule(
        "mixture",
        Values((1.0,)),
        keeps="the `1 - f·e` best by p, with e the estimated error rate and f the value",
        when="maps without weights, lists as long as there are correct particles",
        score=MIXTURE,
    ),
    Rule(
        "posterior",
        rates(0.5),
        keeps="p above the value",
        when="each particle on its own merit; raise it for purity, lower it for completeness",
        score=MIXTURE,
    ),
    Rule(
        "probability",
        rates(0.5),
        keeps="the classifier's probability above the value",
        when="there is a [classifier](../how-to/use-a-classifier.md)",
        score=PROBABILITY,
    ),
    Rule(
        "fraction",
        shares(0.85, 0.78, 0.72, 0.7),
        keeps="the best share by s",
        when="the share of incorrect particles is known, or a schedule is wanted",
    ),
    Rule(
        "count",
        COUNTS,
        keeps="half of so many particles, the best by s",
        when="maps of equal numbers are to be compared",
    ),
    Rule(
        "threshold",
        Values((0.0,), least=-math.inf),
        keeps="s at or above the value (for `_loss`: at or below)",
        when="the score has a scale of its own: `dual` or `mixture` above 0",
    ),
    Rule(
        "trimmed",
        positive(2.5),
        keeps="s within so many robust standard deviations (1.4826 MAD) below the median",
        when="few and gross errors",
    ),
    Rule(
        "balanced",
        shares(0.7),
        keeps="the best share by s of every bin of views",
        when="rare views would be lost; costs particles where errors do not depend on view",
        grouped_by="view",
    ),
    Rule(
        "micrograph",
        rates(0.5),
        keeps="all of the micrographs whose mean p exceeds the value",
        when="whole micrographs went wrong (ice, drift, a bad CTF fit)",
        score=MIXTURE,
        grouped_by="micrograph",
    ),
    Rule(
        "softmax",
        Values((2.0,)),
        keeps="all, with weight exp(-β d), β the value",
        when="to see weights collapse as β grows",
    ),
    Rule(
        "simplex",
        positive(1.0),
        keeps="weights that minimise Σ w d + λ/2 Σ (w - 1)², λ the value",
        when="weights by a loss, zero for the worst",
    ),
    Rule(
        "capped",
        shares(0.5),
        keeps="the same with no weight above 1/value, and λ = ¼",
        when="at least this share of the particles counts",
    ),
    Rule(
        "absolute",
        positive(0.3),
        keeps="a step (the value) of gradient descent on u per round, w = abs(u)",
        when="to see weights pile up round by round",
        goes_on=True,
    ),
    Rule(
        "huber",
        positive(0.5),
        keeps="all, with weight min(1, value / d)",
        when="iteratively reweighted least squares, one step per round",
    ),
    Rule(
        "student",
        positive(2.0),
        keeps="all, with weight 1 / (1 + d² / ν), ν the value",
        when="the same for heavy tails",
    ),
)
RULES = {rule.name: rule for rule in _ALL}
"""Every rule by its name."""
