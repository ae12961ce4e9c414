"""``cryocore audit``: a referee's questions to the list of particles that a run recommends."""

from __future__ import annotations

import logging
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Annotated, Any

import typer

from cryocore.commands.output import AsJson, answer
from cryocore.commands.stages import options

KINDS = ("view", "micrograph", "defocus")

log = logging.getLogger(__name__)


def audit(
    run_dir: Annotated[Path, typer.Argument(help="results/RUN, finished; its images are read.", metavar="RUN")],
    *,
    out: Annotated[Path, typer.Option(help="Folder for page, figure and numbers, from RUN.")] = Path("audit"),
    number: Annotated[
        str, typer.Option("--round", help="Round whose list is asked about: recommended, last or a number.")
    ] = "recommended",
    n_random: Annotated[int, typer.Option("--random", help="Random lists of the same size.", min=2)] = 8,
    n_dealt: Annotated[int, typer.Option("--dealt", help="Lists dealt out anew within groups.", min=2)] = 4,
    within: Annotated[
        list[str] | None, typer.Option(help="These groups: view, micrograph or defocus; also several. Default: view.")
    ] = None,
    n_noise: Annotated[int, typer.Option("--noise-lists", help="Random lists of images without phases.", min=1)] = 4,
    splits: Annotated[int, typer.Option(help="How often the particles are dealt in two.", min=1)] = 4,
    cut: Annotated[
        float | None,
        typer.Option(help="Resolution beyond which phases are replaced, Å; default: FSC 0.5 of round 0.", min=0.1),
    ] = None,
    region: Annotated[
        Path | None, typer.Option(help="Mask of the part whose local resolution is asked for; default: the run's mask.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.", min=0)] = 0,
    backend: options.Backend = "auto",
    threads: options.Threads = 2,
    as_json: AsJson = False,
) -> None:
    """Ask what a referee asks of the list that a run recommends, and write a page with the answers.

    Would any subset of that size do? Does the map gain in its parts? Does the selection fit noise? Is it more than
    views? Is it stable? Do images that it has not seen agree? Costs about as much as the run did. Finished parts are
    kept beside the page: the same command goes on where it was.

    **Examples**

    `cryocore audit results/demo`

    `cryocore audit results/demo --within view --within defocus --random 20 --out audit_defocus`
    """
    from cryocore.backend import get_backend
    from cryocore.commands.output import require_choice
    from cryocore.explore.audit import Plan
    from cryocore.explore.audit import audit as ask
    from cryocore.report.audit import write_audit
    from cryocore.workflow.provenance import code_version

    kinds = tuple(dict.fromkeys(within or ["view"]))
    for kind in kinds:
        require_choice(kind, KINDS, "--within")
    plan = Plan(n_random, n_dealt, n_noise, kinds, splits, cut, seed)
    root = Path(__file__).parents[3]
    code = " ".join(code_version("cryocore/explore/audit/audit.py", root=root).values())  # not that of the page
    folder = run_dir / out
    given: dict[str, Any] = {"plan": plan, "number": number, "work": folder, "code": code, "region": region}
    found = ask(run_dir, get_backend(backend, threads=threads), **given)
    files = write_audit(found, folder)
    used = getrusage(RUSAGE_SELF)
    log.info("%.0f CPU seconds, %.0f MB of memory at most", used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    answer(found.text, found.as_dict() | {"files": [str(file) for file in files]}, as_json)
