"""The words of ``docs/measurements/accuracy.md``: how to read each table."""

from __future__ import annotations

HEAD = """\
# Validation

`make validation` measures everything on this page, writes the numbers to `benchmarks/results/validation/` and the page
from them. This run: cryocore {cryocore}, Python {python}, {processor}, {cores} cores, {minutes:.0f} minutes.
"""

RELION_TEXT = """\
{relion}, {particles} simulated particles, box {box}, padding 2, no prior on either side. High SNR: signal/noise 100 and
B = 50 Å², so that there is signal up to Nyquist; realistic: 0.01 and 200 Å². *Between*: the least FSC of cryocore's
half maps with RELION's up to 0.9 Nyquist, inside RELION's ball of radius d/2, and its shell (of {half}); the same maps
give 1.
"""

TRUTH_TEXT = """\
The same maps against the true one: mean FSC over all shells below Nyquist, and the shell where cryocore is furthest
below RELION (or least above it), up to 0.95 Nyquist and up to the last. The aim is -0.01 or better.

RELION's default evens out the weights of neighbouring samples iteratively (gridding), which helps where particles are
few for the box; cryocore divides, as RELION does without gridding. With D7, RELION interpolates in its sums to
symmetrise them and does not undo what that does to the density far from the axis; cryocore does. What is left undone
also keeps the noise far from the axis low, which raises the FSC in a ball that is mostly solvent. *Every mate inserted*
is RELION without symmetry, on all mates of all particles: nothing is interpolated twice. Inside the mask of the
molecule the solvent does not count. Beyond 0.95 Nyquist the maps end: RELION's at the shell of Nyquist, cryocore's one
shell before.
"""

POST_TEXT = """\
`relion_postprocess` on cryocore's half maps and mask: the median resolution at FSC 0.143 of several random seeds, and
the shells where they lie; the seed draws the phases that correct the FSC for the mask. Then the largest difference of
any shell's FSC, before that correction. The aim is one shell between the medians. RELION gives the last shell above
0.143, cryocore the point between shells; RELION sums over half the transform, cryocore over all of it.
"""

PLANTED_TEXT = """\
Images of computed densities of known structures with {percent} % wrong poses, through the whole workflow with the
demo's rule. *FSC to truth* is that of the merged map, mean over all shells; `correct_rate` the share of kept
particles that are right. The last columns are AUC, the probability that a right particle scores better than a
wrong one, for several scores of the round. The default rule decides by `mixture`.
"""

SELECTED_TEXT = """\
RELION reads `subset.star` of the last round, with its extra `cryocore...` columns, and reconstructs from it: the least
FSC between its half maps and cryocore's up to 0.9 Nyquist, and its shell.
"""

REAL_TEXT = """\
Real particles through the whole workflow (two rounds), and the leave-out test: a map of nine tenths of the images, its
projections correlated with the rest, {folds} times; true poses must beat poses dealt out anew. *Elsewhere*: the same
test with other software, whose filters differ. The RELION 3.1 file of aspire17 gives one particle the pose of another.
No resolution: the FSC of the half sets, as the STAR file has them, starts below 0.143.
"""
