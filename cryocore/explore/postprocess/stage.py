"""Half maps in, the post-processed map and its evidence out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pyarrow as pa

from cryocore.errors import InputError
from cryocore.explore.postprocess.halves import SHARED_NOISE, Halves, read_pair
from cryocore.explore.postprocess.sharpen import COARSEST_ANGSTROM, FEWEST_SHELLS, Sharpened, sharpen
from cryocore.explore.recommended import recommended_number
from cryocore.maps.curves import FscCurves
from cryocore.maps.fsc import half_map_fsc, resolution_at
from cryocore.maps.mrc import write_map
from cryocore.reconstruct.stage import choose_mask, within
from cryocore.tables.io import atomic_path, open_arrays, write_json, write_table


@dataclass(frozen=True)
class PostProcessed:
    """What was done; ``names`` are the files in ``folder``."""

    halves: Halves
    folder: Path
    curves: FscCurves
    sharpened: Sharpened
    mask_share: float
    noise_correlation: float | None
    names: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        curves, fit = self.curves, self.sharpened.fit
        return {
            "half1": str(self.halves.half1),
            "half2": str(self.halves.half2),
            "mask": "automatic" if self.halves.mask is None else str(self.halves.mask),
            "mask_share": self.mask_share,
            "box": curves.metadata["box"],
            "pixel_size_angstrom": curves.metadata["pixel_size_angstrom"],
            "resolution_angstrom": self.sharpened.resolution_angstrom,
            "resolution_half_angstrom": resolution_at(curves.corrected, curves.resolution_angstrom, 0.5),
            "unmasked_resolution_angstrom": resolution_at(curves.unmasked, curves.resolution_angstrom),
            "randomised_from_shell": curves.metadata["randomised_from_shell"],
            "noise_correlation": self.noise_correlation,
            "bfactor_angstrom2": self.sharpened.bfactor_angstrom2,
            "guinier_fit": None if fit is None else asdict(fit),
            "files": [str(self.folder / name) for name in self.names],
        }

    @property
    def text(self) -> str:
        """The numbers, to read."""
        v, fit, applied = self.as_dict(), self.sharpened.fit, self.sharpened.bfactor_angstrom2
        mask = f"mask {v['mask']}, {100 * self.mask_share:.1f} % of the box"
        lines = [
            f"{v['resolution_angstrom']:.2f} Å at FSC 0.143, {v['resolution_half_angstrom']:.2f} Å at 0.5; {mask}",
        ]
        if fit is None:
            shells = f"fewer than {FEWEST_SHELLS} shells between {COARSEST_ANGSTROM:g} Å and the resolution"
            hint = "" if applied else "; the map is weighted, not sharpened (--bfactor VALUE does)"
            lines.append(f"No Guinier fit: {shells}{hint}")
        else:
            fitted = f"{fit.bfactor_angstrom2:.0f} ± {fit.bfactor_sd_angstrom2:.0f} Å²"
            lines.append(f"Guinier fit: B = {fitted} over {fit.from_angstrom:.1f} to {fit.to_angstrom:.1f} Å")
        if (self.noise_correlation or 0.0) > SHARED_NOISE:
            lines.append(
                f"Warning: outside the molecule the noise of the half maps correlates by {self.noise_correlation:.2f}; "
                "they share particles, or one is the full map, or the molecule fills the box: the FSC may be too high"
            )
        if applied > 0:
            lines.append(f"Warning: a B-factor of {applied:+.0f} Å² blurs the map; negative ones sharpen")
        lines.append(f"Applied B-factor {applied:.0f} Å²; {', '.join(self.names)} in {self.folder}")
        return "\n".join(lines)


def halves_of_round(run_dir: Path, wanted: str) -> Halves:
    """The half maps and the mask of a round of a run: a number, ``last``, or ``recommended``, the round to stop at.

    Raises
    ------
    InputError  if there is no such round, or the run has not said yet which one is recommended.
    """
    found = {p.parent.name.removeprefix("round_"): p.parent for p in run_dir.glob("round_*/half2.mrc")}
    numbers = sorted(int(name) for name in found if name.isdigit())
    if not numbers:
        raise InputError("there are no half maps in this directory", file=run_dir, fix="Give results/<run>")
    number = {
        "last": str(numbers[-1]),
        "recommended": str(recommended_number(run_dir)) if wanted == "recommended" else "",
    }
    folder = found.get(number.get(wanted, wanted))
    if folder is None:
        raise InputError(
            f"there is no round {wanted}; there are {', '.join(map(str, numbers))}",
            file=run_dir,
            setting="--round",
            fix="Choose one of them, last or recommended",
        )
    with open_arrays(folder / "sampling.npz", "sampling density") as file:
        last_shell = int(file["last_shell"])
    return Halves(folder / "half1.mrc", folder / "half2.mrc", folder / "mask.mrc", last_shell=last_shell)


def postprocess(
    halves: Halves, out_dir: Path, *, bfactor_angstrom2: float | None = None, seed: int = 0
) -> PostProcessed:
    """Write the sharpened map and what it rests on.

    ``postprocess.mrc``, ``postprocess_masked.mrc`` and ``mask.mrc``; ``fsc.parquet`` and, for EMDB, ``fsc.xml``;
    ``guinier.parquet``; the figures ``fsc`` and ``guinier`` as PNG and SVG; ``postprocess.json``, the numbers.

    Parameters
    ----------
    halves : the half maps
    bfactor_angstrom2 : to apply, negative to sharpen; None: that of the Guinier fit
    seed : of the random phases

    Raises
    ------
    InputError  if files do not fit each other, are the same, or do not correlate; if ``out_dir`` is the folder of a
        round, or the B-factor is too large.
    """
    from cryocore.explore.postprocess.figures import fsc_figure, guinier_figure
    from cryocore.figures.look import save_both

    if (out_dir / "half1.mrc").exists():
        problem, fix = "it is the folder of a round, whose FSC and mask would be written over", "Name another folder"
        raise InputError(problem, file=out_dir, setting="--out", fix=fix)
    pair = read_pair(halves)
    pixel, place, first, second = pair.pixel_size_angstrom, pair.placement, pair.first, pair.second
    mask = choose_mask(halves.mask, (first, second), pixel, place)
    curves = half_map_fsc(first, second, mask, pixel, seed)
    if halves.last_shell is not None:
        curves = within(curves, halves.last_shell)
    mean = 0.5 * (first + second)
    noise_correlation = pair.noise_correlation
    del first, second, pair
    done = sharpen(mean, curves, bfactor_angstrom2=bfactor_angstrom2)

    write_map(out_dir / "postprocess.mrc", done.volume, pixel, place)
    write_map(out_dir / "postprocess_masked.mrc", done.volume * mask, pixel, place)
    write_map(out_dir / "mask.mrc", mask, pixel, place)
    curves.write(out_dir / "fsc.parquet")
    write_fsc_xml(out_dir / "fsc.xml", curves)
    write_table(out_dir / "guinier.parquet", pa.table(asdict(done.guinier)))
    save_both(fsc_figure(curves, done.resolution_angstrom), out_dir, "fsc")
    save_both(guinier_figure(done), out_dir, "guinier")
    names = ("postprocess.mrc", "postprocess_masked.mrc", "mask.mrc", "fsc.xml", "fsc.png", "guinier.png")
    result = PostProcessed(halves, out_dir, curves, done, float(mask.mean()), noise_correlation, names)
    write_json(out_dir / "postprocess.json", result.as_dict())
    return result


def write_fsc_xml(path: Path, curves: FscCurves) -> None:
    """Write the corrected FSC as EMDB takes it: one ``coordinate`` per shell from 1, x in 1/Å."""
    titles = {"xaxis": "Resolution (A-1)", "yaxis": "Correlation Coefficient"}
    root = ET.Element("fsc", {"title": "FSC of half maps, corrected for the mask", **titles})
    for resolution, value in zip(curves.resolution_angstrom[1:], curves.corrected[1:], strict=True):
        point = ET.SubElement(root, "coordinate")
        ET.SubElement(point, "x").text = f"{1.0 / resolution:.6f}"
        ET.SubElement(point, "y").text = f"{value:.6f}"
    ET.indent(root)
    with atomic_path(path) as temporary:
        temporary.write_text(f"{ET.tostring(root, encoding='unicode')}\n")
