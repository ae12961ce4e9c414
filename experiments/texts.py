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

How well does a score find wrong particles, and what is the map of the rest worth? Every case is a data set with planted
errors, an ordinary configuration that runs through the ordinary workflow, measured against the truth.
`experiments/grid.yaml` declares them: three molecules (proteasome D7, channel C4, small C1) × kind of error (uniformly
wrong pose, pose 5 to 20 degrees off, wrong shift, junk, mixed) × rate × SNR × number of particles.

```bash
make experiments                                        # the named rows below, and this page
make experiments PART='molecule=channel snr=0.005'      # a part of the grid: factors,
make experiments PART='small-*-30-*-n1000 real'         # patterns of names, sets
python -m experiments list                              # the named rows and the sets
python -m experiments run table --cores 8 --discard     # images and maps removed once measured
python -m experiments table                             # only write this page
```

A case runs in `results/experiments/<case>/`, with the `config.yaml` that is written there, and leaves its numbers in
`benchmarks/results/experiments/<case>.json`. What is up to date is not run again, what was interrupted goes on, and a
case that fails is named at the end with its log while the others run. `snakemake --snakefile ../../../Snakefile
--configfile config.yaml` in its folder does the same without measuring.
"""

SCORES_TEXT = """\
AUC of every score in the last round: the probability that a right particle scores better than a wrong one. In brackets,
where there is one, the value that an independent implementation found for such a case (other images, box 64 to 128).
*True map*: `llr` with the true map as the reference, brought to the scale of the images; no score of one pose can
expect to do better, but scores that compare several poses can. *CryoSieve's rule*, written from its description (its
program is not run): a fifth dropped for good per round, by its score above a cut-off that climbs from 40 Å to Nyquist,
ranked by how long a particle stays; a particle's share of the map that it is compared with is left in, or taken out as
cryocore does, which makes much of the difference at low SNR (the value in brackets does not say which). The best score
in bold; scores in the order of their mean. *Map of the right ones*: log odds of particles against the half maps of all
right particles, their own share taken out: where a run would end that had chosen every particle well. The difference
between `mixture` and this column is what a better choice could win; between this column and *true map* lies what maps
of so many particles cannot tell.
"""

SUBSETS_TEXT = """\
The particles of the last round that count at least half, the list that is handed on, and the share of them that is
right; beside it that of as many of the best by the map of the right ones, and by the true map.
"""

AREAS_TEXT = """\
FSC of maps against the true map under one mask, mean over all shells: that of the truly right particles, and what other
particles of the same images lose against it. *Chosen*: each particle by its weight in the last round. *Weights by map
of right ones*: the same rule, were the map that judges that of all right particles; no choice from these images can be
expected to beat it by much. *Random* and *best by true map* have the size of the list; *weights by true map* are
probabilities fitted to the truth. Choosing by the true map favours images whose noise resembles it: such maps can be
nearer to the truth than that of the right ones. CryoSieve's rule: the best of all its rounds, own share in or out.
*Resolved shells*: those where the FSC of the truly right particles' map is at least ½.
"""

AGREEMENT_TEXT = """\
How much better half maps agree than what each shares with the truth explains: mean over shells of
FSC(1, 2) - FSC(1, t) FSC(2, t), 0 for independent noise. Wrong particles add to it, since both maps then have something
in common that is not in the truth. *Judged across*: two more rounds in which the other half set's map judges, which is
forbidden and what a leak looks like.
"""

RATES_TEXT = """\
The share of wrong particles, as planted and as estimated from the scores of the last round.
"""

KINDS_TEXT = """\
AUC in the last round of right particles against each kind of error.
"""

REPEATS_TEXT = """\
{n} data sets that differ in the seed only ({label}).
"""

ADD_TEXT = """\
## Add a score or a rule in ten lines

A score is a function of the band sums of each particle: a is the image's power, e the projection's, c their inner
product, each `(particles, bands)` ([score](score.md)). Add it to `cryocore/score/scores.py`,

```python
def my_score(s: BandStatistics, weighting: Weighting) -> Array:
    return np.sum(weighting.w * s.c, axis=1) / np.sqrt(np.sum(s.a, axis=1) * np.sum(s.e, axis=1))
```

put `"my_score": my_score(own, weighting)` into the dictionary of scores further down in that file, and its name into
`SCORES` of `cryocore/data.py`. It is then a column of the log, a value of `select.score`, and a column of every table
here; `python -m experiments run` measures the cases again, since the code of a stage has changed. A score whose name
ends in `_loss` is better when lower.

A rule is a function of scores in `cryocore/select/rules.py` and an entry in `registry.py` there ([select](select.md)).
To compare rules, set `select` below `settings` in `experiments/grid.yaml`; without a rule there, each case drops the
share of particles that is known to be wrong, in steps.

Scores from elsewhere: write their column into a copy of `log.parquet`, in the order of its rows, and call
`experiments.evaluate.aucs_by_kind`; the map of any subset comes from `experiments.comparisons.measured`.
"""
