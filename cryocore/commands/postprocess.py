"""``cryocore postprocess``: the sharpened map of a finished run, or of any two half maps."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cryocore.commands.output import AsJson, answer


def postprocess(
    run_dir: Annotated[Path | None, typer.Argument(help="results/RUN, or nothing with --half1.", metavar="RUN")] = None,
    number: Annotated[
        str, typer.Option("--round", help="recommended (the round to stop at), last, or a number.")
    ] = "recommended",
    half1: Annotated[Path | None, typer.Option(help="A half map, .mrc, instead of a run.")] = None,
    half2: Annotated[Path | None, typer.Option(help="The other half map.")] = None,
    mask: Annotated[
        Path | None, typer.Option(help="From 0 to 1, .mrc; default: the run's, or made from the half maps.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for all that is written.")] = Path("postprocess"),
    bfactor: Annotated[
        str, typer.Option(help="auto: by a Guinier fit; or Å², negative to sharpen, 0 to leave amplitudes.")
    ] = "auto",
    pixel_size: Annotated[
        float | None, typer.Option("--pixel-size", help="Of the half maps, Å; default: the file's.", min=0.01)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the random phases.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Sharpen the map of a round, with the FSC curve and the files that a deposition needs.

    Writes postprocess.mrc, postprocess_masked.mrc, the mask, the FSC as XML for EMDB, the Guinier plot and all numbers.
    docs/how-to/postprocess.md explains.

    **Examples**

    `cryocore postprocess results/demo`

    `cryocore postprocess results/demo --round last --mask tight.mrc --bfactor -90 --out sharp`

    `cryocore postprocess --half1 run_half1_class001_unfil.mrc --half2 run_half2_class001_unfil.mrc`
    """
    from cryocore.errors import InputError
    from cryocore.explore.postprocess import Halves, halves_of_round
    from cryocore.explore.postprocess import postprocess as write

    wanted = None if bfactor == "auto" else _value(bfactor)
    if run_dir is not None and half1 is None and half2 is None:
        halves = halves_of_round(run_dir, number)
    elif run_dir is None and half1 is not None and half2 is not None:
        halves = Halves(half1, half2)
    else:
        raise InputError("it is not clear which half maps are meant", fix="Give RUN, or --half1 and --half2")
    halves = replace(halves, mask=mask or halves.mask, pixel_size_angstrom=pixel_size)
    done = write(halves, out, bfactor_angstrom2=wanted, seed=seed)
    answer(done.text, done.as_dict(), as_json)


def _value(text: str) -> float:
    """A finite number, Å²."""
    from cryocore.errors import InputError

    try:
        if math.isfinite(value := float(text)):
            return value
    except ValueError:
        pass
    raise InputError(f"{text!r} is no B-factor", setting="--bfactor", fix="Give auto or a number, as -90")
