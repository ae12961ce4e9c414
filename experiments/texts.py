"""The words of ``docs/measurements/experiments.md``."""

from __future__ import annotations

SET_TITLES = {
    "table": "Named rows",
    "repeats": "Many seeds",
    "real": "Known structures and real images",
    "grid": "Other cases of the grid",
}

HEAD = """\
# Experiments

*For those who ask how well scores and rules find incorrect particles, or want to compare a score of their own.*

Every case is a data set with planted errors, run by the ordinary workflow and measured against the truth.
`experiments/grid.yaml` declares them: three molecules (proteasome D7, channel C4, small C1) × kind of error (uniformly
wrong pose, pose 5 to 20 degrees off, wrong shift, junk, mixed) × rate × SNR × number of particles.

```bash
make experiments                                        # the named rows below, and this page
make experiments PART='molecule=channel snr=0.005'      # a part of the grid: factors,
make experiments PART='small-*-30-*-n1000 real'         # patterns of names, sets
python -m experiments list                              # names and sets
python -m experiments run table --cores 8 --discard     # images and maps removed once measured
```

A case runs in `results/experiments/<case>/` and leaves its numbers in `benchmarks/results/experiments/<case>.json`.
What is up to date is not run again.
"""

SCORES_TEXT = """\
AUC of the best scores in the last round, the best in bold, in the order of their mean. In brackets the value of an
independent implementation on such a case (other images, box 64 to 128). *True map*: `llr` with the true map as the
reference. *Map of the correct ones*: log odds against the half maps of all correct particles, self-contribution taken
out; a better choice could win what lies between `mixture` and this column. *CryoSieve's rule*, from its description
(the program is not run): a fifth dropped for good per round, by its score above a cut-off that climbs from 40 Å to
Nyquist, with the self-contribution left in.
"""

AREAS_TEXT = """\
FSC of maps against the true map under one mask, mean over all shells: that of the correct particles, and what other
particles of the same images lose against it. *CryoSieve's rule*: the best of its rounds. *Chosen*: each particle by
its weight in the last round. *Estimated incorrect*: the error rate by the scores of the last round, with its 95 %
interval.
"""

AGREEMENT_TEXT = """\
How much better half maps agree than what each shares with the truth explains: mean over shells of
FSC(1, 2) - FSC(1, t) FSC(2, t), 0 for independent noise; over these cases. *Scored across*: two more rounds against
the other half set's map, which is forbidden and what a leak looks like.
"""

KINDS_TEXT = """\
AUC in the last round of correct particles against each kind of error.
"""

REPEATS_TEXT = """\
{n} data sets that differ in the seed only ({label}).
"""

ADD_TEXT = """\
## Add a score or a rule in ten lines

A score is a function of the band sums of each particle, each `(particles, bands)` ([scores](../reference/scores.md)).
Add it to `cryocore/score/scores.py`,

```python
def my_score(s: BandStatistics, weighting: Weighting) -> Floats:
    return np.sum(weighting.w * s.c, axis=1) / np.sqrt(np.sum(s.a, axis=1) * np.sum(s.e, axis=1))
```

put `"my_score": my_score(own, weighting)` into the dictionary of scores further down in that file, and its name into
`SCORES` of `cryocore/log/names.py` ([contributing](../../CONTRIBUTING.md) lists what else tests ask for). It is then a
column of the log and a value of `select.score`. A score whose name ends in `_loss` is better when lower.

A rule is a function of scores in `cryocore/select/rules.py` and an entry in `cryocore/config/rules.py`. To compare
rules, set `select` below `settings` in `experiments/grid.yaml`; without a rule there, each case drops the known share
of incorrect particles, in steps.

Scores from elsewhere: `experiments.evaluate.aucs_by_kind`; maps of any subset: `experiments.comparisons.measured`.
"""
