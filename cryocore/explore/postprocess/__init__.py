"""The map to look at and to deposit: sharpened, weighted and filtered by what the half maps say of it."""

from cryocore.explore.postprocess.halves import Halves
from cryocore.explore.postprocess.sharpen import Guinier, GuinierFit, Sharpened, sharpen
from cryocore.explore.postprocess.stage import PostProcessed, halves_of_round, postprocess

__all__ = [
    "Guinier",
    "GuinierFit",
    "Halves",
    "PostProcessed",
    "Sharpened",
    "halves_of_round",
    "postprocess",
    "sharpen",
]
