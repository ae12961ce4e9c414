"""Lists agree: packages of pyproject.toml, pins, conda environments and imports; licences; citations; containers."""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import cryocore

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
CORE = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
IMPORTED_AS = {"pil": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}
OPTIONAL = {"cupy", "torch"}
PERMISSIVE = re.compile(r"\b(0BSD|Apache|BSD|CC0|HPND|MIT|MIT-CMU|PSF|Python Software Foundation|Zlib)\b")
WEAK_COPYLEFT = {"tqdm"}  # MPL-2.0 AND MIT: its own files stay open, those that use it are free


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(re.fullmatch(r"([^=]+)==(.+)", line).groups() for line in lines if not line.startswith("#"))  # type: ignore[union-attr,misc]


def conda(name: str) -> set[str]:
    """The packages of a conda environment as pyproject.toml would write them."""
    listed = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
    return {re.sub(r"-base|-minimal| ", "", line) for line in listed}


def test_pinned_versions_satisfy_the_project() -> None:
    normal = {canonicalize_name(name): value for name, value in pins().items()}
    for text in [*PROJECT["dependencies"], *EXTRAS["learn"], *EXTRAS["slurm"], *EXTRAS["docs"], *EXTRAS["dev"]]:
        requirement = Requirement(text)
        assert normal[canonicalize_name(requirement.name)] in requirement.specifier, text
    assert normal["torch"] == "2.13.0"


def test_conda_environments_have_the_same_packages() -> None:
    wanted = {*PROJECT["dependencies"], "python" + PROJECT["requires-python"], "cxx-compiler"}
    (torch,) = (text.removeprefix("torch") for text in EXTRAS["learn"])
    (snakemake,) = (text for text in wanted if text.startswith("snakemake"))
    assert conda("cryocore") == wanted - {snakemake}
    assert conda("learn") == wanted - {snakemake} | {"pytorch" + torch}
    for major in (12, 13):
        (cupy,) = (r.specifier for r in map(Requirement, EXTRAS[f"gpu-cu{major}"]) if r.name.startswith("cupy"))
        gpu = {f"cuda-version{major}.*", f"cupy{cupy}", "pytorch-gpu" + torch, "pip"}
        assert conda(f"cuda{major}") == wanted | gpu


def test_what_is_imported_is_required_and_what_is_required_is_imported() -> None:
    names = set()
    for file in [*(ROOT / "cryocore").rglob("*.py"), *(ROOT / "scripts").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module or "")
    top = {name.split(".")[0].lower() for name in names} - {name.lower() for name in sys.stdlib_module_names}
    required = {IMPORTED_AS.get(name, name) for name in top} - {"cryocore"}
    assert required == (CORE - {"snakemake"}) | OPTIONAL


@pytest.mark.parametrize("name", sorted(CORE))
def test_licences_are_permissive_and_listed(name: str) -> None:
    about = metadata.metadata(name)
    classifiers = [text for text in about.get_all("Classifier", []) if text.startswith("License")]
    said = " ".join([about.get("License-Expression", ""), (about.get("License") or "")[:200], *classifiers])
    if "License-File" in about and not PERMISSIVE.search(said):
        files = [file for file in metadata.files(name) or [] if "licen" in file.name.lower()]
        said = " ".join(file.read_text()[:300] for file in files)
    assert PERMISSIVE.search(said), said
    assert "GPL" not in said
    assert ("MPL" in said) == (name in WEAK_COPYLEFT)


def test_page_lists_every_dependency() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (ROOT / "docs/reference/dependencies.md").read_text(), re.MULTILINE)
    extra = {Requirement(text).name for texts in EXTRAS.values() for text in texts}
    assert sorted(rows) == sorted(CORE | {canonicalize_name(name) for name in extra})


def test_citations_agree_with_the_package() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    zenodo = json.loads((ROOT / ".zenodo.json").read_text())
    assert cited["version"] == zenodo["version"] == cryocore.__version__
    assert cited["license"] == zenodo["license"] == PROJECT["license"]
    assert cited["keywords"] == zenodo["keywords"] == PROJECT["keywords"]
    assert cited["title"] == zenodo["title"]
    assert cited["abstract"] == re.sub("</?p>", "", zenodo["description"])
    assert [a["name"] for a in cited["authors"]] == [c["name"] for c in zenodo["creators"]]
    assert [r["doi"] for r in cited["references"]] == [r["identifier"] for r in zenodo["related_identifiers"]]


def test_containers_copy_what_the_workflow_needs() -> None:
    needed = {"Snakefile", "config.yaml", "constraints.txt", "cryocore", "envs", "profiles", "pyproject.toml"}
    needed |= {"rules", "scripts", "containers", "README.md", "LICENSE"}
    docker = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    apptainer = re.findall(
        r"^    (\S+) /opt/cryocore/\1$", (ROOT / "containers/cryocore.def").read_text(), re.MULTILINE
    )
    assert set(docker) == set(apptainer) == needed
    assert all((ROOT / name).exists() for name in needed)
