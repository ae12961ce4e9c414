"""The words of ``docs/measurements/accuracy.md``: how to read each table."""

from __future__ import annotations

HEAD = """\
# Accuracy

*For those who ask how cryocore's maps and scores compare with RELION's, with real images and with the truth.*

`make validation` measures everything on this page, writes the numbers to `benchmarks/results/validation/` and the page
from them. This run: cryocore {cryocore}, Python {python}, {processor}, cores: {cores}, {minutes:.0f} minutes.
"""

RELION_TEXT = """\
{relion}, {particles} simulated particles, box {box}, padding 2, no prior on either side. High SNR: signal/noise 100 and
B = 50 Å², so that there is signal up to Nyquist; realistic: 0.01 and 200 Å². RELION's default evens out the weights of
neighbouring samples iteratively (gridding); without, it divides. cryocore divides and damps directions that few
particles have seen ([how](../explanation/reconstruction.md)), which gains where there is noise and costs a little where
there is none; *undamped* are its maps without that. *Every symmetry equivalent inserted* is RELION without symmetry, on
all symmetry-equivalent orientations; with D7 RELION leaves the density far from the axis, and its noise, low.

- *Between*: the least FSC of the half maps of both up to 0.9 Nyquist, inside RELION's ball of radius d/2, and its shell
  (of {half}); then that of the undamped ones.
- *cryocore*, *undamped*, *RELION*: mean FSC with the true map inside the mask of the molecule.
- *Mask*, *ball*: cryocore's FSC with the true map less RELION's, where it is least up to 0.95 Nyquist, and the shell;
  the ball is mostly solvent. The aim is -0.01 or better.
- *Seconds*: RELION's per map.
"""

POST_TEXT = """\
`relion_postprocess` on cryocore's half maps and mask: the median resolution at FSC 0.143 over random seeds, which draw
the phases that correct the FSC for the mask, and the shells; then the largest difference of any shell's FSC before
that correction. The aim is one shell between the medians.
"""

PLANTED_TEXT = """\
Images of computed densities of known structures with {percent} % wrong poses, through the whole workflow with the
default rule, four rounds: first and last one. *FSC to truth* is that of the merged map, mean over all shells; the last
columns are AUC ([all scores](experiments.md)).
"""

SELECTED_TEXT = """\
RELION reads `subset.star` of the last round, with its extra `cryocore...` columns, and reconstructs from it: the least
FSC between its half maps and cryocore's up to 0.9 Nyquist, and its shell. cryocore's are damped and weigh particles,
which RELION does not; the last column has cryocore's maps of the same particles without either.
"""

REAL_TEXT = """\
Real particles through the whole workflow, and the leave-out test: a map of nine tenths of the images, its projections
correlated with the rest, {folds} times; true poses must beat poses dealt out anew. *Elsewhere*: the same test with
other software, whose filters differ. The RELION 3.1 file of aspire17 gives one particle the pose of another.
"""
