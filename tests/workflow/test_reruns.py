"""Which stages an edit of cryocore reruns: those that compute something else by it (docs/explanation/workflow.md)."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

import pytest

from cryocore.workflow.provenance import KERNELS, code_version

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
STAGES = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
COMPARING = {"score", "noise", "solve", "classify", "look", "audit", "report"}
"""Iterative reconstruction estimates the noise as scoring does, a classifier learns from scores, the report shows what
it has learned from, and what is left out is shown beside what is predicted of it."""
MAPPING = {"reconstruct", "sum", "examine"} | COMPARING
"""All that reads images and sums them: folds and training particles are left out of maps, too."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code."""
    root = tmp_path_factory.mktemp("checkout")
    for part in ("cryocore", "scripts"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def versions(root: Path) -> dict[str, dict[str, str]]:
    return {stage: code_version(f"scripts/{stage}.py", root=root) for stage in STAGES}


@cache
def versions_of_all(root: Path) -> dict[str, dict[str, str]]:
    """Those of the copy as it is."""
    return versions(root)


def rerun(root: Path, file: str, old: str, new: str) -> set[str]:
    """The stages whose digests are others where ``old`` is ``new``; an empty ``old`` is the end of the file."""
    path, before = root / file, versions_of_all(root)
    text = path.read_text()
    assert old in text, f"{file}: {old}"
    path.write_text(text.replace(old, new, 1) if old else text + new)
    try:
        after = versions(root)
    finally:
        path.write_text(text)
    return {stage for stage in STAGES if before[stage] != after[stage]}


def kernel(name: str) -> str:
    return (KERNELS / name).as_posix()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param("cryocore/tables/particles.py", "", "\n# a comment\n", id="a comment in a file of all stages"),
        pytest.param("cryocore/imaging/ctf.py", "The CTF at", "The contrast transfer at", id="a docstring"),
        pytest.param("cryocore/imaging/ctf.py", "x**2 + y**2", "(\n        x**2 + y**2\n    )", id="layout"),
        pytest.param("cryocore/imaging/ctf.py", "phase_deg: float =", "phase_deg: ArrayLike =", id="an annotation"),
        pytest.param("cryocore/config/score.py", "resolution bands", "bands of resolution", id="a description"),
        pytest.param("cryocore/config/select.py", "From losses to", "From the losses to", id="a text of settings"),
        pytest.param("cryocore/config/rules.py", "the best share by s", "the best by s", id="what a rule keeps"),
        pytest.param("cryocore/commands/stage_verbs.py", "", "\nN = 1\n", id="a command"),
        pytest.param("cryocore/commands/stages/score.py", "Number of the", "The", id="the help of an option"),
        pytest.param("cryocore/commands/stages/options.py", "What ingest", "Which ingest", id="that of all stages"),
        pytest.param("cryocore/commands/stages/score.py", "Compare every", "Compare each", id="what a verb does"),
        pytest.param("cryocore/workflow/settings.py", "", "\nN = 1\n", id="what hands settings to stages"),
        pytest.param("cryocore/__init__.py", '__version__ = "', '__version__ = "9.', id="the version"),
        pytest.param("cryocore/__init__.py", "The loop", "A loop", id="what the package is"),
        pytest.param(kernel("host/insert_binned.cpp"), "", "\n// a comment\n", id="a comment in a kernel"),
        pytest.param(kernel("shared/machine.cuh"), "two complex", "2 complex", id="a comment in all kernels"),
        pytest.param(kernel("score.cu"), ") {\n", ")\n{\n", id="layout of a kernel"),
    ],
)
def test_what_computes_the_same_reruns_nothing(checkout: Path, file: str, old: str, new: str) -> None:
    assert rerun(checkout, file, old, new) == set()


@pytest.mark.parametrize(
    ("name", "stages"),
    [
        ("input", {"report"}),
        ("simulate", {"simulate", "report"}),
        ("plant", {"simulate", "plant", "classify", "report"}),
        ("reconstruct", {"reconstruct", "sum", "solve", "look", "audit", "report"}),
        ("solve", {"solve", "report"}),
        ("score", COMPARING),
        ("classify", {"classify", "report"}),
        ("select", {"select", "audit", "report"}),
    ],
)
def test_a_new_setting_reruns_the_stages_that_have_it(checkout: Path, name: str, stages: set[str]) -> None:
    assert rerun(checkout, f"cryocore/config/{name}.py", "(Section):\n", "(Section):\n    new: int = 1\n") == stages


@pytest.mark.parametrize(
    ("name", "old", "new", "stages"),
    [
        ("project.cu", "kx > 0 ||", "kx >= 0 ||", {"solve", "classify", "look", "report", "simulate"}),
        ("prepare.cu", "rx * kx", "rx * kx * 2.0f", MAPPING),
        ("host/insert_binned.cpp", "gx * s->re", "fx * s->re", MAPPING),
        ("shared/scatter.cuh", "share * re", "share * im", MAPPING),
        ("symmetrise.cu", "sum.x += v.x", "sum.x -= v.x", MAPPING),
        ("score.cu", "2.0f * totals[k]", "totals[k]", COMPARING),
        ("pack_voxels.cu", "scale * value.x", "value.x", COMPARING),
        ("neighbours.cu", "ux * vx + uy", "ux * vx - uy", COMPARING),
        ("pack.cu", "% (radius + 2)", "% (radius + 1)", {"solve"}),
        ("residual.cu", "value.x - contrast", "value.x + contrast", {"solve"}),
        ("average.cu", "#define TAPS 6", "#define TAPS 8", {"solve"}),
        ("shared/blocked.cuh", "spread(y) << 1", "spread(y) << 2", COMPARING),
        ("shared/gather.cuh", "fz * (upper", "fy * (upper", MAPPING | {"simulate"}),
        ("shared/half_space.cuh", "p.x - gx", "gx - p.x", MAPPING | {"simulate"}),
        ("shared/blocked.cuh", "HOST_LANES 16", "HOST_LANES 8", COMPARING),
        ("shared/half_float.cuh", "half & 0x8000u", "half & 0x4000u", MAPPING),
    ],
)
def test_another_formula_of_a_kernel_reruns_what_launches_it(
    checkout: Path, name: str, old: str, new: str, stages: set[str]
) -> None:
    assert rerun(checkout, kernel(name), old, new) == stages


@pytest.mark.parametrize(
    ("file", "old", "new", "stages"),
    [
        ("cryocore/imaging/ctf.py", "0.25 * particles", "0.5 * particles", MAPPING | {"simulate"}),
        ("cryocore/backend/insertion.py", "WAITING_SHARE = 0.35", "WAITING_SHARE = 0.5", MAPPING),
        ("cryocore/imaging/image_geometry.py", "optics.box - 1", "optics.box - 2", MAPPING | {"simulate", "cache"}),
        ("cryocore/reconstruct/iterative/losses.py", "torch.log1p(m * q", "torch.log1p(q", {"solve"}),
        ("cryocore/score/comparison.py", "ALTERNATIVE_SHARE = 0.99", "ALTERNATIVE_SHARE = 0.9", COMPARING),
        ("cryocore/select/rules.py", "round(share *", "int(share *", {"select", "audit", "report"}),
        ("cryocore/config/rules.py", "rates(0.05)", "rates(0.1)", {"select", "audit", "report"}),
        ("cryocore/examine/split.py", "LEAST_FSC = 0.2", "LEAST_FSC = 0.1", {"examine"}),
        ("cryocore/examine/duplicates.py", "LEAST_SHARED = 0.15", "LEAST_SHARED = 0.2", {"examine"}),
        ("cryocore/log/gather.py", "Shard(i,", "Shard(i + 1,", {"gather"}),
        ("cryocore/validate/metrics.py", "", "\nN = 1\n", {"validate", "audit", "report"}),
        ("cryocore/classify/network.py", "", "\nN = 1\n", {"classify", "report"}),
        ("cryocore/tables/particles.py", "", "\nN = 1\n", set(STAGES)),
        ("cryocore/config/run.py", "", "\nN = 1\n", {"report"}),
        ("cryocore/report/page.css", "", "\n", {"audit", "report"}),
        ("cryocore/report/page.html.j2", "", "\n", {"audit", "report"}),
        ("cryocore/explore/gallery.py", "CONTRAST_SD = 3.0", "CONTRAST_SD = 4.0", {"look"}),
        ("cryocore/explore/audit/noise.py", "STREAM = 33", "STREAM = 34", {"audit"}),
        ("cryocore/explore/loss/peaks.py", "", "\nN = 1\n", {"report"}),
        ("cryocore/commands/stages/select.py", "out_file: Annotated[Path", "out_file: Annotated[str", {"select"}),
        ("cryocore/commands/stages/score.py", "= 0,", "= 1,", {"score"}),
        ("cryocore/commands/stages/options.py", "", "\nN = 1\n", set(STAGES) - {"refined"}),  # takes none of them
        ("scripts/select.py", "", "\nN = 1\n", {"select"}),
    ],
)
def test_another_formula_reruns_what_computes_by_it(
    checkout: Path, file: str, old: str, new: str, stages: set[str]
) -> None:
    assert rerun(checkout, file, old, new) == stages


def test_a_stage_knows_no_settings_but_its_own(checkout: Path) -> None:
    """Only the report knows the whole configuration."""
    files = versions_of_all(checkout)
    assert {stage for stage in STAGES if "cryocore/config/run.py" in files[stage]} == {"report"}
    kernels = {stage: {file.partition("/kernels/")[2] for file in files[stage]} - {""} for stage in STAGES}
    assert not kernels["gather"] | kernels["ingest"]
    transforms = {"host/fourier.cpp", "pocketfft/pocketfft_hdronly.h", "shared/machine.cuh"}
    assert kernels["cache"] == transforms
    for stage in ("select", "validate"):
        assert kernels[stage] <= transforms | {"host/shells.cpp", "shared/sine.cuh"}, stage
