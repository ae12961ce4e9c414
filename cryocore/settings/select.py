"""From losses to the particles of the next round."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from cryocore.data import SCORES
from cryocore.settings.base import Fraction, PerRound, Positive, Rate, Section

BY_POSTERIOR = ("posterior", "probability", "mixture", "soft", "micrograph")
"""Rules that decide by the probability of being right, whatever the score."""


class Select(Section):
    """From losses to the particles of the next round. A list gives one value per round; its last one stays."""

    score: Literal[(*SCORES, "mixture", "probability")] = Field(  # type: ignore[valid-type]
        default="dual",
        description="column of the log, or mixture; the rules in brackets take no notice of it",
    )
    rule: Literal[
        "fraction",
        "count",
        "threshold",
        "posterior",
        "probability",
        "mixture",
        "soft",
        "trimmed",
        "balanced",
        "micrograph",
        "softmax",
        "absolute",
        "simplex",
        "capped",
        "huber",
        "student",
    ] = Field(default="soft", description="which of the settings down to student decides")
    fraction: Annotated[list[Fraction], PerRound] = Field(
        default=[0.85, 0.78, 0.72, 0.7], min_length=1, description="share of all particles kept"
    )
    count: Annotated[list[Annotated[int, Field(ge=2)]], PerRound] = Field(
        default=[1000], min_length=1, description="particles kept"
    )
    threshold: Annotated[list[float], PerRound] = Field(default=[0.0], min_length=1, description="worst score kept")
    posterior: Annotated[list[Rate], PerRound] = Field(
        default=[0.5], min_length=1, description="(probability of being right that kept ones exceed)"
    )
    probability: Annotated[list[Rate], PerRound] = Field(
        default=[0.5], min_length=1, description="(classifier's probability of being right that kept ones exceed)"
    )
    mixture: Annotated[list[Annotated[float, Field(ge=0.0)]], PerRound] = Field(
        default=[1.0], min_length=1, description="(particles dropped, over the estimated number of wrong ones)"
    )
    soft: Annotated[list[Rate], PerRound] = Field(
        default=[0.05], min_length=1, description="(weight: probability of being right; 0 below this)"
    )
    trimmed: Annotated[list[Positive], PerRound] = Field(
        default=[2.5], min_length=1, description="robust deviations below the median that are kept"
    )
    balanced: Annotated[list[Fraction], PerRound] = Field(
        default=[0.7], min_length=1, description="share kept of the particles of every view"
    )
    micrograph: Annotated[list[Rate], PerRound] = Field(
        default=[0.5], min_length=1, description="(mean probability that kept micrographs exceed)"
    )
    softmax: Annotated[list[Annotated[float, Field(ge=0.0)]], PerRound] = Field(
        default=[2.0], min_length=1, description="inverse temperature of weights exp(-value * loss)"
    )
    absolute: Annotated[list[Positive], PerRound] = Field(
        default=[0.3], min_length=1, description="step of a gradient descent on weights, one per round"
    )
    simplex: Annotated[list[Positive], PerRound] = Field(
        default=[1.0], min_length=1, description="quadratic term that keeps weights on the simplex apart"
    )
    capped: Annotated[list[Fraction], PerRound] = Field(
        default=[0.5], min_length=1, description="least share of the particles that weights are spread over"
    )
    huber: Annotated[list[Positive], PerRound] = Field(
        default=[0.5], min_length=1, description="robust deviations below the median from which weights fall"
    )
    student: Annotated[list[Positive], PerRound] = Field(
        default=[2.0], min_length=1, description="degrees of freedom of weights 1 / (1 + loss² / value)"
    )
    normalise: Literal["none", "view", "micrograph", "defocus"] = Field(
        default="none", description="scores relative to those of a group"
    )
    minimum: int = Field(default=50, ge=1, description="fewest particles that a half set may keep")

    @model_validator(mode="after")
    def _losses_have_no_zero(self) -> Select:
        if self.rule == "threshold" and self.score.endswith("_loss") and "threshold" not in self.model_fields_set:
            raise ValueError(f"threshold: say which {self.score} is the largest to be kept")
        return self

    @model_validator(mode="after")
    def _posterior_is_no_score(self) -> Select:
        if self.normalise != "none" and self.rule in BY_POSTERIOR:
            raise ValueError(f"normalise: {self.rule} decides by probabilities, which are left as they are; use none")
        return self
