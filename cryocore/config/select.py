"""From losses to the particles of the next round."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from cryocore.config.base import PerRound, Rate, Section
from cryocore.config.rules import RULES
from cryocore.log.names import MIXTURE, PROBABILITY, SCORES, lower_is_better

DEFAULT_RULE, DEFAULT_SCORE = "soft", "dual"
"""What chooses unless a rule is named, and what rules rank by that have no score of their own."""
BY_THE_RULE: Any = None
"""Value and score that are left out; the settings hold what is usual for the rule instead."""


class Select(Section):
    """From losses to the particles of the next round: a rule, its value, and the score that it ranks by."""

    rule: Literal[(*RULES,)] = Field(  # type: ignore[valid-type]
        default=DEFAULT_RULE, description="how particles are chosen; docs/reference/selection-rules.md tells of each"
    )
    value: Annotated[list[float], PerRound] = Field(
        default=BY_THE_RULE, min_length=1, description="of the rule, one per round; null: its default"
    )
    score: Literal[(*SCORES, MIXTURE, PROBABILITY)] = Field(  # type: ignore[valid-type]
        default=BY_THE_RULE, description=f"what the rule ranks by; null: its own score, or {DEFAULT_SCORE}"
    )
    normalise: Literal["none", "view", "micrograph", "defocus"] = Field(
        default="none", description="scores relative to those of a group"
    )
    guard_rare_views: bool = Field(
        default=True, description="soft: list the likeliest of views without which directions would be empty"
    )
    quality: Literal["auto", "none"] = Field(
        default="auto", description="B-factors and scales, where particles or micrographs differ"
    )
    tolerance: Rate = Field(
        default=0.02,
        description="change of the weights below which a round stays as it was; 0: none does",
    )
    minimum: int = Field(default=50, ge=1, description="fewest particles that a half set may keep")

    @model_validator(mode="before")
    @classmethod
    def _as_is_usual_for_the_rule(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        values = {**given, "rule": DEFAULT_RULE if given.get("rule") is None else given["rule"]}
        rule = RULES.get(values["rule"]) if isinstance(values["rule"], str) else None
        name = next((name for name in RULES if name in values), None)
        if name is not None:
            raise ValueError(f"there is no key {name}; the value of a rule is select: {{rule: {name}, value: ...}}")
        if rule is None:
            return values
        if values.get("score") is None:
            values["score"] = rule.score or DEFAULT_SCORE
        if values.get("value") is None:
            if values["rule"] == "threshold" and lower_is_better(str(values["score"])):
                raise ValueError(f"value: say which {values['score']} is the largest to be kept by threshold")
            values["value"] = [*rule.values.default]
        return values

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Select:
        rule = RULES[self.rule]
        if incorrect := [v for v in self.value if v not in rule.values]:
            raise ValueError(f"value: {self.rule} takes {rule.values}; got {incorrect[0]:g}")
        if rule.score and self.score != rule.score:
            raise ValueError(
                f"score: {self.rule} takes no notice of {self.score}, it ranks by {rule.score}; leave score out, or "
                "choose another rule, such as fraction"
            )
        if rule.score and self.normalise != "none":
            raise ValueError(f"normalise: {self.rule} decides by probabilities, which are left as they are; use none")
        return self
