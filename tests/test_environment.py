"""The lists of packages agree: pyproject.toml, the pinned versions, and the environment of the rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(re.fullmatch(r"([^=]+)==(.+)", line).groups() for line in lines if not line.startswith("#"))  # type: ignore[union-attr,misc]


def test_pinned_versions_satisfy_the_project() -> None:
    normal = {re.sub(r"[-_.]+", "-", name).lower(): value for name, value in pins().items()}
    extras = PROJECT["optional-dependencies"]
    for text in [*PROJECT["dependencies"], *extras["learn"], *extras["slurm"], *extras["docs"], *extras["dev"]]:
        requirement = Requirement(text)
        assert normal[re.sub(r"[-_.]+", "-", requirement.name).lower()] in requirement.specifier, text
    assert normal["torch"] == "2.13.0"


def test_rules_get_the_same_packages() -> None:
    listed = yaml.safe_load((ROOT / "envs/cryocore.yaml").read_text())["dependencies"]
    listed = {line.replace("-base", "").replace(" ", "") for line in listed}
    wanted = {text for text in PROJECT["dependencies"] if not text.startswith("snakemake")}
    assert listed == wanted | {"python" + PROJECT["requires-python"], "cxx-compiler"}


def test_citation_names_the_version() -> None:
    import cryocore

    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == cryocore.__version__
