"""Names of what is known of a particle beside its scores; without NumPy, since settings are checked by them."""

MIXTURE = "mixture"
"""Column of the log: log odds of being correct."""
LIKELY_KIND = "likely_kind"
"""Column of the log: what a particle most probably is, correct or a kind of error."""
COMPLETED = (MIXTURE, LIKELY_KIND)
"""Columns of the log that need the scores of all particles."""
WRONG_DEFOCUS = "wrong_defocus"
"""Of these kinds, that of a particle whose micrograph has a wrong defocus."""
SPOILT = "spoilt"
"""What takes the place of these kinds for an image with something in it beside the particle."""
REASON = "reason"
"""Column of subset.parquet and the log: why a particle is not selected, or is although its scores speak against it."""
APPLIED_BFACTOR = "quality_bfactor_angstrom2"
"""Column of the log: B-factor beside that of the file that predictions have, of particles of unequal quality."""
APPLIED_SCALE = "quality_scale"
"""Column of the log: scale beside that of the file that predictions have, of particles of unequal quality."""
APPLIED = (APPLIED_BFACTOR, "quality_bfactor_sd_angstrom2", APPLIED_SCALE, "quality_scale_sd")
"""Columns of the log: these, each with its standard deviation."""
QUALITY = "quality"
"""What replays rank by where they cut by quality: minus the B-factor that the log says, or the scale."""
PROBABILITY = "probability"
"""Column of probability.parquet: that of being correct, by a classifier."""
TRUTH = "is_correct"
"""Column of truth.parquet: whether a particle is correct, null where that is unknown."""


SCORES = ("l2_loss", "cryosieve", "ncc", "llr", "z", "zc", "ldac", "contrast", "local", "shift", "dual")
"""Names of the scores in the log; see ``cryocore.score.scores``."""

EXPECTED = ("expected_z", "expected_zc", "expected_ldac")
"""What a correct particle scores in the mean, by the power of its projection."""

SUGGESTED_POSE = (
    "suggested_pose_gain",
    *(f"suggested_quat_{c}" for c in "wxyz"),
    "suggested_shift_gain",
    "suggested_shift_x_angstrom",
    "suggested_shift_y_angstrom",
)
"""The best of the perturbed poses and perturbed shifts that a particle was compared with."""

MEAN_GAIN = ("mean_pose_gain", "mean_shift_gain")
"""What perturbed poses and perturbed shifts gain in the mean."""

NOT_SCORES = frozenset(
    [f"quat_{c}" for c in "wxyz"]
    + [f"view_{c}" for c in "xyz"]
    + [
        "defocus_u_angstrom",
        "defocus_v_angstrom",
        "weight",
        "noise_factor",
        *APPLIED,
        *EXPECTED,
        *SUGGESTED_POSE,
        *MEAN_GAIN,
    ]
)
"""Floating-point columns of the log that describe a particle; every other one scores it."""


def lower_is_better(score_name: str) -> bool:
    """Whether small values of a score are good; its name says so."""
    return score_name.endswith("_loss")
