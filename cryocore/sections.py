"""The blocks of a run's settings."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cryocore.data import SCORES

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]


def _ascending(values: tuple[float, float]) -> tuple[float, float]:
    if values[0] > values[1]:
        raise ValueError(f"a range goes from low to high; got {values[0]:g}, {values[1]:g}")
    return values


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, int | float) else value


def _is_name(value: str) -> str:
    if not value.strip() or not value.isprintable():
        raise ValueError(f"{value!r:.80} is no file name: it is blank or holds control characters")
    if value.startswith("-"):
        raise ValueError(f"{value!r:.80} begins with a dash, as options do: write ./{value:.80}")
    return value


BY_POSTERIOR = ("posterior", "probability", "mixture", "soft", "micrograph")
"""Rules that decide by the probability of being right, whatever the score."""
CLASSIFIERS = ("logistic", "boosting", "cnn")
"""Models that a run can make itself."""
MOLECULE_GROUPS = {"proteasome": ("D7", "C7", "C1"), "channel": ("C4", "C2", "C1"), "small": ("C1",)}
"""The point group of each simulated molecule, and those contained in it."""

Range = Annotated[tuple[Positive, Positive], AfterValidator(_ascending)]
PerRound = BeforeValidator(_as_list)
FileName = Annotated[str, AfterValidator(_is_name)]


class Section(BaseModel):
    """A block of settings in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _flags_are_no_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and kind in (int, float):
            raise ValueError("yes and no are no numbers")
        return value


class PlantedErrors(Section):
    """Shares of the particles that are made wrong on purpose; at most 1 together."""

    wrong_pose: Rate = Field(default=0.0, description="pose replaced by a uniformly random rotation")
    local_pose: Rate = Field(default=0.0, description="pose turned by local_angle_deg about a random axis")
    wrong_shift: Rate = Field(default=0.0, description="shift moved by wrong_shift_angstrom in a random direction")
    junk: Rate = Field(default=0.0, description="image replaced by noise of the same power")
    local_angle_deg: Range = Field(default=(5.0, 20.0), description="range of the angles")
    wrong_shift_angstrom: Range = Field(default=(10.0, 30.0), description="range of the distances")

    @property
    def total(self) -> float:
        """Share of particles that are wrong in any way."""
        return self.wrong_pose + self.local_pose + self.wrong_shift + self.junk

    @model_validator(mode="after")
    def _at_most_everything(self) -> PlantedErrors:
        if self.total > 1.0:
            raise ValueError(f"the rates add up to {self.total:g}; they may not exceed 1")
        return self


class Simulate(Section):
    """A synthetic data set."""

    molecule: Literal["proteasome", "channel", "small"] = Field(
        default="proteasome", description="of pseudo-atoms; point groups D7, C4, C1"
    )
    bfactor_angstrom2: float = Field(
        default=150.0, ge=0.0, description="fall-off exp(-B s²/4) of the molecule's transform"
    )
    volume: FileName | None = Field(default=None, description="MRC map to use instead of a molecule")
    n_particles: int = Field(default=4000, ge=2, le=10**8, description="number of images")
    box: int = Field(default=96, ge=16, le=2048, multiple_of=2, description="side of an image in pixels; even")
    pixel_size_angstrom: Positive = Field(default=2.2, description="Nyquist resolution is twice this")
    snr: Positive = Field(
        default=0.01, description="signal variance / noise variance per pixel inside the particle's disc"
    )
    orientations: Literal["uniform", "preferred"] = Field(
        default="preferred", description="how viewing directions spread"
    )
    noise: Literal["white", "coloured"] = Field(
        default="white", description="coloured noise is stronger at low resolution"
    )
    scale_spread: float = Field(
        default=0.0, ge=0.0, description="standard deviation of the logarithm of images' scales"
    )
    background: float = Field(
        default=0.0, ge=0.0, description="standard deviation of linear gradients, in that of the noise"
    )
    shift_angstrom: float = Field(default=4.0, ge=0.0, description="standard deviation of the true shifts")
    defocus_angstrom: Range = Field(default=(8000.0, 22000.0), description="range; underfocus is positive")
    astigmatism_angstrom: float = Field(default=300.0, ge=0.0, description="largest defocus U - V")
    voltage_kv: Positive = Field(default=300.0, description="of the microscope")
    cs_mm: float = Field(default=2.7, ge=0.0, description="spherical aberration")
    amplitude_contrast: Rate = Field(default=0.1, description="as a fraction")
    n_micrographs: int = Field(default=40, ge=1, le=10**6, description="micrographs that the particles come from")
    half_precision: bool = Field(default=False, description="write float16 stacks (MRC mode 12)")


class Input(Section):
    """Where the particles come from: a file of them, or a simulation when there is none."""

    star: FileName | None = Field(
        default=None, description="RELION STAR, cryoSPARC .cs or THUNDER .thu file of particles"
    )
    passthrough: FileName | None = Field(
        default=None, description="passthrough file of a .cs file (default: found beside it)"
    )
    root: FileName | None = Field(
        default=None, description="directory that image paths start from (default: found by looking)"
    )
    pixel_size_angstrom: Positive | None = Field(default=None, description="overrides the file's; null: read it")
    truth: FileName | None = Field(
        default=None, description="Parquet table with particle_id and is_correct, where the truth is known"
    )
    true_map: FileName | None = Field(default=None, description="MRC map of the truth, where it is known")
    simulate: Simulate = Field(default=Simulate(), description="the data set that is made when star is null")
    cache: bool = Field(
        default=False, description="keep compact transforms of the images: for many rounds on a slow disk"
    )
    plant: PlantedErrors = Field(
        default=PlantedErrors(), description="errors made on purpose, in simulated or real particles"
    )

    @model_validator(mode="after")
    def _one_truth(self) -> Input:
        if self.passthrough and not (self.star or "").lower().endswith(".cs"):
            raise ValueError("passthrough: only a cryoSPARC .cs file has one")
        if self.star is None and (self.truth or self.true_map):
            raise ValueError("a simulation knows its own truth: truth and true_map need a star")
        if self.truth and self.plant.total > 0.0:
            raise ValueError("planted errors make their own truth: give truth or plant, not both")
        return self


class Iterative(Section):
    """Half maps by minimising a robust loss. Lists give one value per epoch; the last one stays."""

    loss: Literal["l2", "trimmed", "l1", "huber", "irls", "student_t"] = Field(
        default="student_t", description="what a particle's residual costs"
    )
    residual: Literal["matched", "plain"] = Field(
        default="matched", description="what robust losses judge by; see docs/solve.md"
    )
    keep: Annotated[list[Fraction], PerRound] = Field(
        default=[1.0, 0.9, 0.8, 0.7], min_length=1, description="trimmed: share of the particles kept, per epoch"
    )
    scope: Literal["set", "batch"] = Field(
        default="set", description="trimmed: what is sorted, by losses of the last epoch"
    )
    delta: Positive = Field(default=1.345, description="huber: distance from which on the loss is linear")
    floor: Positive = Field(default=1.0, description="l1, irls: distances below this count as much as this one")
    nu: Positive = Field(default=2.0, description="student_t: degrees of freedom; few forgive more")
    start: Literal["direct", "zero"] = Field(default="direct", description="the first map")
    optimiser: Literal["LBFGS", "SGD", "Adam", "AdamW", "RMSprop"] = Field(
        default="LBFGS", description="of torch.optim"
    )
    learning_rate: Positive | None = Field(default=None, description="null: 1; of SGD 0.3, of Adam and its kin 0.1")
    momentum: float = Field(default=0.0, ge=0.0, lt=1.0, description="of SGD")
    schedule: Literal["constant", "cosine", "exponential"] = Field(
        default="constant", description="of the learning rate"
    )
    decay: Fraction = Field(default=0.9, description="exponential: learning rate over that of the epoch before")
    n_epochs: int = Field(default=12, ge=1, le=999, description="passes over the images, at most")
    batch_size: Annotated[int, Field(ge=2)] | None = Field(default=None, description="particles per step; null: all")
    ridge: float = Field(default=0.0, ge=0.0, description="weight of |x|², in that of the mean coefficient's data")
    prior: Literal["none", "wiener"] = Field(default="none", description="wiener: by the FSC of the first half maps")
    tolerance: float = Field(default=1e-3, ge=0.0, description="stop at this relative residual of the normal equations")
    patience: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="epochs without a lower cross-validation loss to stop after; null: never"
    )
    processes: int = Field(
        default=1, ge=1, le=64, description="GPUs, or processes without one, that share the particles"
    )

    @model_validator(mode="after")
    def _lbfgs_sees_everything(self) -> Iterative:
        if self.optimiser == "LBFGS" and self.batch_size is not None:
            raise ValueError("LBFGS needs the gradient of all particles: set batch_size: null, or use SGD or Adam")
        return self


class Reconstruct(Section):
    """From particles to half maps."""

    method: Literal["direct", "iterative"] = Field(default="direct", description="Fourier inversion, or a robust loss")
    padding: float = Field(default=2.0, ge=1.0, le=3.0, description="Fourier oversampling; memory grows with its cube")
    mask: FileName | None = Field(default=None, description="MRC mask, 0 to 1; null: made from the first map")
    full_every: int = Field(
        default=4,
        ge=1,
        description="rounds from one in full to the next; others change the kept sums",
    )
    max_resolution_angstrom: Positive | None = Field(
        default=None, description="finer detail is left out; null: Nyquist"
    )
    iterative: Iterative = Field(default=Iterative(), description="how the robust loss is minimised (needs torch)")


class Score(Section):
    """From maps to the loss of every particle. A list gives one value per round, from round 0; its last one stays."""

    n_bands: int = Field(default=24, ge=4, le=64, description="resolution bands in the log")
    cryosieve_angstrom: Annotated[list[Positive], PerRound] = Field(
        default=[40.0], min_length=1, description="high-pass cut-off of CryoSieve's score"
    )
    leave_one_out: Literal["closed_form", "folds"] = Field(
        default="closed_form", description="how a particle is kept from judging itself"
    )
    n_folds: int = Field(
        default=5, ge=2, le=64, description="folds: parts of a half set, each judged by the map of the others"
    )
    noise: Literal["optics_group", "micrograph"] = Field(
        default="optics_group", description="what shares a noise spectrum"
    )
    noise_per_particle: bool = Field(default=True, description="scale it by each particle's own residual")
    n_decoys: int = Field(default=8, ge=0, description="random poses that each particle is compared with")
    n_local: int = Field(default=8, ge=0, description="neighbouring poses that each particle is compared with")
    local_angle_deg: Range = Field(default=(3.0, 15.0), description="how far away they are")
    n_shift: int = Field(default=8, ge=0, description="displaced shifts that each particle is compared with")
    shift_angstrom: Range = Field(default=(3.0, 15.0), description="how far they are displaced")


class Classify(Section):
    """A classifier on residual images whose probability is one more score."""

    model: FileName = Field(default="none", description="none, logistic, boosting, cnn (needs torch), or a folder")
    labels: Literal["planted", "probable"] = Field(
        default="planted", description="errors made on purpose, or what is probably right"
    )
    n_lessons: int = Field(default=1000, ge=50, description="particles per half set to learn from, in no map meanwhile")
    n_folds: int = Field(
        default=3, ge=3, le=20, description="parts of the micrographs; models judge those they have not seen"
    )
    image_size: int = Field(
        default=64, ge=16, le=256, description="side of the images in pixels; finer detail is cut off"
    )
    n_epochs: int = Field(default=40, ge=1, le=999, description="cnn: passes over the lessons, at most")
    patience: int = Field(default=8, ge=1, description="cnn: epochs without a lower loss to stop after")
    batch_size: int = Field(default=64, ge=2, description="cnn: images per step")
    learning_rate: Positive = Field(default=1e-3, description="cnn: the highest one")
    errors: PlantedErrors = Field(
        default=PlantedErrors(wrong_pose=0.4, local_pose=0.2, wrong_shift=0.2, junk=0.2),
        description="planted: kinds and shares",
    )

    @model_validator(mode="after")
    def _errors_to_learn(self) -> Classify:
        if self.errors.total == 0.0:
            raise ValueError("errors: name at least one kind of error to learn from")
        return self


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
