"""``python -m experiments list|run|table``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cryocore.cores import available_cores
from cryocore.errors import InputError
from experiments.cases import SETS, Case, chosen, read_cases
from experiments.runs import STORE, run_cases, summary_lines

PART = Annotated[
    list[str] | None,
    typer.Argument(help=f"sets ({', '.join(SETS)}), patterns of names (channel-*), factors (snr=0.005,0.01)"),
]
app = typer.Typer(add_completion=False, no_args_is_help=True, help="Planted errors, found or not.")


def part_of(words: list[str] | None) -> list[Case]:
    """The cases that the words select; the named rows without any."""
    try:
        return chosen(read_cases(), words or ["table"])
    except InputError as error:
        sys.exit(f"experiments: {error}")


@app.command("list")
def list_cases(part: PART = None) -> None:
    """Names of cases (default: the named rows), and which have been measured."""
    for case in part_of(part):
        state = "measured" if (STORE / f"{case.name}.json").exists() else "-"
        print(f"{case.name:44} {state:9} {case.label if case.label != case.name else ''}".rstrip())
    if not part:
        counts = {name: sum(name in case.sets for case in read_cases()) for name in SETS}
        print("\nsets: " + "; ".join(f"{name}, {counts[name]} cases ({text})" for name, text in SETS.items()))


@app.command()
def run(
    part: PART = None,
    cores: Annotated[int, typer.Option(help="that the workflow may use (default: all)", min=1)] = available_cores(),
    discard: Annotated[bool, typer.Option("--discard", help="remove a case's images and maps once measured")] = False,
) -> None:
    """Run and measure cases (default: the named rows); what is up to date is not run again."""
    outcomes = run_cases(part_of(part), cores=cores, discard=discard)
    print("", *summary_lines(outcomes), sep="\n")
    sys.exit(any(outcome.state == "failed" for outcome in outcomes))


@app.command()
def solvers(
    part: Annotated[list[str] | None, typer.Argument(help="patterns of names (channel-*), factors (rate=0.3)")] = None,
    cores: Annotated[int, typer.Option(help="to use (default: all)", min=1)] = available_cores(),
) -> None:
    """Compare all ways to weigh particles on the cases of solvers.yaml; what is measured is not run again."""
    from experiments.solvers import compare, read_specs

    cases, specs = read_specs()
    compare(chosen(cases, part or []), specs, cores=cores)


@app.command()
def classifiers(
    label: Annotated[list[str] | None, typer.Argument(help="labels of cases; default: all")] = None,
    cores: Annotated[int, typer.Option(help="to use (default: all)", min=1)] = available_cores(),
) -> None:
    """Compare classifiers with the scores of the log, on the cases of classifiers.yaml that are not measured yet."""
    from experiments.classifiers import measure

    measure(cores=cores, labels=label or [])


@app.command()
def seeds(
    part: Annotated[list[str] | None, typer.Argument(help="beginnings of names (proteasome, small-2000)")] = None,
    cores: Annotated[int, typer.Option(help="that the workflow may use", min=1)] = 1,
    discard: Annotated[bool, typer.Option("--discard", help="remove images and maps once measured")] = False,
) -> None:
    """The first group's own experiments; what is measured is not run again."""
    from experiments.seeds import run as measure

    measure(part or [], cores=cores, discard=discard)


@app.command()
def residuals(cores: Annotated[int, typer.Option(help="to use (default: all)", min=1)] = available_cores()) -> None:
    """Train on two plain arrays of residual images, as the first group did; always measured anew."""
    from experiments.residual_arrays import run

    run(cores=cores)


@app.command()
def states(
    part: Annotated[list[str] | None, typer.Argument(help="beginnings of names (missing, trouble-)")] = None,
    cores: Annotated[int, typer.Option(help="to use (default: all)", min=1)] = available_cores(),
) -> None:
    """Look for planted second states, and for ones that are not there; what is measured is not run again."""
    from experiments.states import run

    run(part or [], cores=cores)


@app.command()
def region(
    part: Annotated[list[str] | None, typer.Argument(help="beginnings of names (snr0.05)")] = None,
    cores: Annotated[int, typer.Option(help="to use (default: all)", min=1)] = available_cores(),
) -> None:
    """Look for a displaced body, by the whole, by its region and by JANAS; what is measured is not run again."""
    from experiments.region import run

    run(part or [], cores=cores)


@app.command()
def selectors(
    part: Annotated[list[str] | None, typer.Argument(help="beginnings of names (t20s-real, hcn4-)")] = None,
    method: Annotated[list[str] | None, typer.Option(help="names of methods (janas); default: all quick ones")] = None,
    cores: Annotated[int, typer.Option(help="that preparation may use; methods run on one")] = available_cores(),
    discard: Annotated[bool, typer.Option("--discard", help="remove images and maps once measured")] = False,
) -> None:
    """Compare particle selectors on the same files; what is measured is not run again."""
    from experiments.selectors.measure import run

    run(part or [], only=method or [], cores=cores, discard=discard)


@app.command()
def table() -> None:
    """Write the pages on experiments, trouble, quality, weighting, classifiers, states, region, selectors and seeds."""
    from experiments import (  # matplotlib is not needed otherwise
        classifiers_page,
        page,
        quality_page,
        region_page,
        seeds_page,
        solvers_page,
        states_page,
        trouble_page,
    )
    from experiments.selectors import page as selectors_page

    modules = (
        page,
        trouble_page,
        quality_page,
        solvers_page,
        classifiers_page,
        states_page,
        region_page,
        selectors_page,
        seeds_page,
    )
    for written in (module.write_page() for module in modules):
        if written:
            print(f"{written} written")
    selectors_page.write_numbers()


if __name__ == "__main__":
    app()
