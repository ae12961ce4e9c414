"""Particles of two files that are the same, are others of the same name, or cannot be told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from cryocore.convert.apply import Applied, apply_selection
from cryocore.convert.keys import common_names
from cryocore.errors import InputError
from cryocore.formats.star import read_star
from cryocore.ingest.particles import particle_ids
from cryocore.tables.io import write_table
from cryocore.tables.particles import Particles
from tests.formats.samples import cs_fields, write_fields
from tests.ingest.samples import optics_columns, particle_columns, table

N, STACKS, SIDE = 60, 4, 4000.0
CHOSEN = np.flatnonzero(np.arange(N) % 3 == 1)
Columns = dict[str, list[Any]]


def columns(seed: int = 0) -> Columns:
    """Particles of four micrographs, of random places and defoci; ``rlnGroupNumber`` says which is which."""
    rng = np.random.default_rng(seed)
    made = particle_columns(N)
    stack = np.arange(N) % STACKS
    made["rlnImageName"] = [f"{i // STACKS + 1:06d}@Extract/job010/mic{s}.mrcs" for i, s in enumerate(stack)]
    made["rlnMicrographName"] = [f"MotionCorr/job002/mic{s}.mrc" for s in stack]
    made["rlnCoordinateX"], made["rlnCoordinateY"] = rng.uniform(100, SIDE - 100, (2, N)).round(2).tolist()
    made["rlnDefocusU"] = rng.uniform(8000, 20000, N).round(1).tolist()
    made["rlnDefocusV"] = [u - 100 for u in made["rlnDefocusU"]]
    made["rlnGroupNumber"] = list(range(N))
    return made


def take(made: Columns, rows: Any) -> Columns:
    return {label: [values[i] for i in rows] for label, values in made.items()}


def numbered_anew(made: Columns, job: str) -> Columns:
    """Extracted again: images of every stack are numbered from 1."""
    count: dict[str, int] = {}
    names = []
    for name in made["rlnImageName"]:
        stack = name.partition("@")[2]
        count[stack] = count.get(stack, 0) + 1
        names.append(f"{count[stack]:06d}@Extract/{job}/{stack.rpartition('/')[2]}")
    return made | {"rlnImageName": names}


def write(path: Path, made: Columns, **optics: Any) -> Path:
    groups = optics_columns() | {label: [value] for label, value in optics.items()}
    path.write_text(table("optics", groups) + table("particles", made))
    return path


def applied(folder: Path, ours: Columns, theirs: Columns, *, optics: Any = None, **options: Any) -> Applied:
    selection = write(folder / "selection.star", ours)
    return apply_selection(
        selection, write(folder / "parent.star", theirs, **(optics or {})), folder / "out.star", **options
    )


def found(folder: Path) -> list[int]:
    return sorted(read_star(folder / "out.star").particles["rlnGroupNumber"].tolist())


def moved(made: Columns, steps: NDArray[Any] | float, rng: np.random.Generator | None = None) -> Columns:
    step = np.broadcast_to(steps, (2, len(made["rlnImageName"])))
    names = ("rlnCoordinateX", "rlnCoordinateY")
    return made | {label: (np.array(made[label]) + d).tolist() for label, d in zip(names, step, strict=True)}


def test_image_numbers_never_override_coordinates(tmp_path: Path) -> None:
    """Extracted again from a part of the picks, with other centres: all numbers exist, of other particles."""
    rng = np.random.default_rng(1)
    whole = columns()
    rest = np.sort(np.concatenate([CHOSEN, np.flatnonzero(np.arange(N) % 6 == 0)]))
    parent = moved(numbered_anew(take(whole, rest), "job030"), rng.normal(0, 4, (2, len(rest))))
    early = [i for i in CHOSEN if i // STACKS < 6]
    with pytest.raises(InputError, match=r"by number, all are found, but \d+ of 8 lie more than 1.5 pixels") as error:
        applied(tmp_path, take(whole, early), parent)
    assert "the nearest in the parent" in str(error.value) and not (tmp_path / "out.star").exists()
    assert applied(tmp_path, take(whole, CHOSEN), parent, tolerance=25).by == "coordinates"
    assert found(tmp_path) == CHOSEN.tolist()
    forced = applied(tmp_path, take(whole, early), parent, by="number")
    assert "Warning: " in forced.text and "(row 1 of it: (" in forced.text
    assert found(tmp_path) != sorted(early)


def test_stacks_written_over_under_the_same_names(tmp_path: Path) -> None:
    whole = columns()
    parent = numbered_anew(take(whole, [*CHOSEN, *range(0, N, 3)]), "job010")
    assert applied(tmp_path, take(whole, [i for i in CHOSEN if i < 24]), parent).by == "coordinates"
    assert found(tmp_path) == [i for i in CHOSEN if i < 24]


@pytest.mark.parametrize("cut", [np.round, np.trunc, lambda v: np.round(v, 3) + 0.004])
def test_coordinates_written_with_fewer_digits(tmp_path: Path, cut: Any) -> None:
    whole = columns()
    parent = numbered_anew(whole, "job030") | {
        label: cut(np.array(whole[label])).tolist() for label in ("rlnCoordinateX", "rlnCoordinateY")
    }
    order = np.random.default_rng(2).permutation(N)
    assert applied(tmp_path, take(whole, CHOSEN), take(parent, order)).by == "coordinates"
    assert found(tmp_path) == CHOSEN.tolist()


def test_neighbours_are_not_guessed(tmp_path: Path) -> None:
    whole = columns()
    parent = numbered_anew(whole, "job030")
    parent = moved(parent, np.where(np.arange(N) == CHOSEN[2], 0.3, 0.0))
    near = take(moved(parent, 0.5), [CHOSEN[2]]) | {"rlnImageName": ["000099@x.mrcs"]}
    doubled = {label: values + near[label] for label, values in parent.items()}
    text = rf"1 of 20 selected particles have several within 1.5 pixels \(row 3 of .*rows {CHOSEN[2] + 1} and 61 of"
    with pytest.raises(InputError, match=text):
        applied(tmp_path, take(whole, CHOSEN), doubled, by="coordinates")
    # image numbers that agree with the places say which of the two it is
    assert applied(tmp_path, take(whole, CHOSEN), doubled).by == "number"
    assert found(tmp_path) == CHOSEN.tolist()
    twice = take(whole, [*CHOSEN, CHOSEN[0]])
    twice = moved(twice, np.array([0.0] * len(CHOSEN) + [0.2]))
    twice["rlnImageName"][-1] = "000098@x.mrcs"
    with pytest.raises(InputError, match=r"rows 1 and 21 of the selection lie nearest to row 2 of the parent"):
        applied(tmp_path, twice, numbered_anew(whole, "job030"))


def test_defoci_tell_where_there_are_no_coordinates(tmp_path: Path) -> None:
    whole = columns()
    for label in ("rlnCoordinateX", "rlnCoordinateY"):
        del whole[label]
    scaled = whole | {"rlnImageName": [n.replace("job010", "scaled") for n in whole["rlnImageName"]]}
    refined = scaled | {label: [v + 300 for v in scaled[label]] for label in ("rlnDefocusU", "rlnDefocusV")}
    done = applied(tmp_path, take(whole, CHOSEN), refined)
    assert (done.by, found(tmp_path)) == ("number", CHOSEN.tolist()) and "Warning" not in done.text
    parent = numbered_anew(take(whole, [*CHOSEN, *range(0, N, 3)]), "job030")
    few = take(whole, [i for i in CHOSEN if i < 24])
    with pytest.raises(InputError, match=r"by number, all are found, but \d of 8 defoci differ by more than 1000 Å"):
        applied(tmp_path, few, parent)
    assert "defoci differ" in applied(tmp_path, few, parent, by="number").text
    # nothing that tells particles apart
    for made in (few, parent):
        del made["rlnDefocusU"], made["rlnDefocusV"]
    assert "Warning: neither coordinates nor defoci of single particles" in applied(tmp_path, few, parent).text
    for made in (few, parent):
        del made["rlnMicrographName"]
    assert "Warning: neither coordinates nor defoci" in applied(tmp_path, few, parent).text


def test_other_micrographs_under_the_same_image_names(tmp_path: Path) -> None:
    whole = columns()
    turned = {"mic0": "mic1", "mic1": "mic0"}
    parent = whole | {
        "rlnMicrographName": [n.replace(n[-8:-4], turned.get(n[-8:-4], n[-8:-4])) for n in whole["rlnMicrographName"]]
    }
    with pytest.raises(InputError, match=r"by image, all are found, but 10 of 20 lie on another micrograph \(row 1"):
        applied(tmp_path, take(whole, CHOSEN), parent)


def test_micrographs_of_one_name_in_two_folders(tmp_path: Path) -> None:
    """Sessions whose micrographs are called alike: folders tell them apart, or nothing does."""
    whole = columns()
    sessions = [f"Movies/{'ab'[i % 2]}/mic{i // 2 % 2}.mrc" for i in range(N)]
    ours = whole | {"rlnMicrographName": [f"MotionCorr/job002/{name}" for name in sessions]}
    theirs = numbered_anew(whole, "job030") | {"rlnMicrographName": [f"MotionCorr/job077/{name}" for name in sessions]}
    assert applied(tmp_path, take(ours, CHOSEN), theirs).by == "coordinates"
    assert found(tmp_path) == CHOSEN.tolist()
    flat = ours | {"rlnMicrographName": [f"MotionCorr/job00{2 + i % 2}/{n[-8:]}" for i, n in enumerate(sessions)]}
    other = theirs | {"rlnMicrographName": [f"MotionCorr/job07{2 + i % 2}/{n[-8:]}" for i, n in enumerate(sessions)]}
    with pytest.raises(InputError, match=r"by coordinates, mic0 may be either micrograph, MotionCorr/job00\d/mic0.mrc"):
        applied(tmp_path, take(flat, CHOSEN), other, by="coordinates")


def test_common_names() -> None:
    def same(a: str, b: str) -> bool:
        ours, theirs, fault = common_names([a], [b], "file")
        assert not fault
        return bool(ours[0] == theirs[0])

    assert same("MotionCorr/job002/Movies/x.mrc", ">J12/motioncorrected/000123456789012345678_x_patch_aligned.mrc")
    assert same("x_fractions.tiff", "J3/imported/000123456789012345678_000123456789012345678_x_fractions.tif")
    assert same("x.mrc", "J5/motioncorrected/000123456789012345678_x_rigid_aligned_doseweighted.mrc")
    assert same("./a/../b/x.mrcs", "b/x.mrc") and not same("20231104_x.mrc", "20231105_x.mrc")
    assert not same("x_1.mrc", "x_2.mrc")


def test_cryosparcs_names_and_y_from_the_other_edge(particles: Particles, tmp_path: Path) -> None:
    """From a .cs file to RELION's of the same picks, whose micrographs are read from the other edge."""
    fields = cs_fields(particles)
    n = len(particles)
    fields["location/micrograph_path"] = np.array(
        [
            f"J2/motioncorrected/00012345678901234567{i}_mic{i % 4}_patch_aligned_doseweighted.mrc".encode()
            for i in np.arange(n) % 4
        ]
    )
    keep = np.arange(n) % 3 == 0
    selection = write_fields(tmp_path / "kept.cs", {name: values[keep] for name, values in fields.items()})
    height, width = fields["location/micrograph_shape"][0]
    made = take(columns(), np.arange(n) % N)
    made["rlnImageName"] = [f"{i + 1:06d}@Extract/job005/p.mrcs" for i in range(n)]
    made["rlnMicrographName"] = [f"MotionCorr/job002/mic{i % 4}.mrc" for i in range(n)]
    made["rlnCoordinateX"] = np.round(fields["location/center_x_frac"] * width, 2).tolist()
    made["rlnDefocusU"] = fields["ctf/df1_A"].tolist()
    made["rlnDefocusV"] = fields["ctf/df2_A"].tolist()
    made["rlnGroupNumber"] = list(range(n))
    for flipped in (False, True):
        y = fields["location/center_y_frac"] * height
        made["rlnCoordinateY"] = np.round(height - y if flipped else y, 2).tolist()
        done = apply_selection(selection, write(tmp_path / "relion.star", made), tmp_path / "out.star")
        assert done.by == "coordinates" and ("y from the other edge" in done.text) == flipped
        assert found(tmp_path) == np.flatnonzero(keep).tolist()


def test_micrographs_of_another_pixel_size_and_other_centres(tmp_path: Path) -> None:
    whole = columns()
    ours = write(tmp_path / "a.star", take(whole, CHOSEN), rlnMicrographPixelSize=1.0)
    binned = numbered_anew(whole, "job030")
    for label in ("rlnCoordinateX", "rlnCoordinateY"):
        binned[label] = (np.array(binned[label]) / 2).tolist()
    done = apply_selection(ours, write(tmp_path / "b.star", binned, rlnMicrographPixelSize=2.0), tmp_path / "out.star")
    assert done.by == "coordinates" and "pixels 2 times as large" in done.text
    assert found(tmp_path) == CHOSEN.tolist()
    # RELION takes whole pixels of the origins into the coordinates
    shift = np.random.default_rng(3).normal(0, 30, (2, N)).round()
    centred = moved(numbered_anew(whole, "job030"), -shift)
    for label, d in zip(("rlnOriginXAngst", "rlnOriginYAngst"), shift, strict=True):
        centred[label] = (np.array(whole[label]) - d).round(4).tolist()
    parent = write(tmp_path / "c.star", centred, rlnMicrographPixelSize=1.0)
    done = apply_selection(ours, parent, tmp_path / "out.star")
    assert done.by == "coordinates" and "centred anew" in done.text
    assert found(tmp_path) == CHOSEN.tolist()


def test_uids_that_moved_and_uids_of_others(particles: Particles, tmp_path: Path) -> None:
    fields = cs_fields(particles)
    keep = np.arange(len(particles)) % 4 == 0
    selection = write_fields(tmp_path / "kept.cs", {name: values[keep] for name, values in fields.items()})
    again = dict(fields) | {"blob/path": np.full(len(particles), b"J9/again.mrc")}
    again["location/center_x_frac"] = again["location/center_x_frac"] + np.float32(20 / 3710)
    again["location/center_y_frac"] = again["location/center_y_frac"] + np.float32(8 / 3838)
    done = apply_selection(selection, write_fields(tmp_path / "b.cs", again), tmp_path / "out.cs")
    assert done.by == "uid" and "Warning: 20 of 20 lie more than 1.5 pixels" in done.text
    # uids counted anew: those of the selection are others' in the parent
    for name in ("location/center_x_frac", "location/center_y_frac", "location/micrograph_path"):
        again[name] = np.roll(fields[name], 8)
    other = write_fields(tmp_path / "c.cs", again)
    with pytest.raises(
        InputError, match=r"by uid, all are found, but 15 of 20 lie on another .*by coordinates, all are .*uid"
    ):
        apply_selection(selection, other, tmp_path / "no.cs")
    again["uid"] = again["uid"] + np.uint64(2)
    done = apply_selection(selection, write_fields(tmp_path / "d.cs", again), tmp_path / "out.cs")
    assert done.by == "coordinates"


def test_back_to_the_images_before_subtraction(tmp_path: Path) -> None:
    """And from those to the subtracted ones, and between two subtractions."""
    whole = columns()
    for label in ("rlnCoordinateX", "rlnCoordinateY", "rlnDefocusU", "rlnDefocusV"):
        del whole[label]
    whole |= {"rlnDefocusU": [1e4] * N}
    subtracted, other = (
        whole
        | {
            "rlnImageName": [f"{i + 1:06d}@Subtract/job0{k}/Particles/subtracted.mrcs" for i in order],
            "rlnImageOriginalName": whole["rlnImageName"],
            "rlnOriginXAngst": [0.0] * N,
        }
        for k, order in ((30, range(N)), (31, np.random.default_rng(1).permutation(N)))
    )
    assert applied(tmp_path, take(subtracted, CHOSEN), whole).by == "original"
    assert found(tmp_path) == CHOSEN.tolist()
    reverted = read_star(tmp_path / "out.star").particles
    assert reverted["rlnImageName"].tolist() == [whole["rlnImageName"][i] for i in CHOSEN]
    assert reverted["rlnOriginXAngst"].tolist() == [whole["rlnOriginXAngst"][i] for i in CHOSEN]
    for ours, theirs in ((whole, subtracted), (subtracted, other)):
        assert applied(tmp_path, take(ours, CHOSEN), theirs).by == "original"
        assert found(tmp_path) == CHOSEN.tolist()
    # a selection of a selection, and a table of a run on the images before
    chain = write(tmp_path / "again.star", take(read_star(tmp_path / "out.star").particles.to_dict("list"), range(5)))
    apply_selection(chain, write(tmp_path / "whole.star", whole), tmp_path / "out.star")
    assert found(tmp_path) == CHOSEN[:5].tolist()
    ids = particle_ids(whole["rlnImageName"])
    write_table(tmp_path / "subset.parquet", pa.table({"particle_id": ids, "selected": np.isin(np.arange(N), CHOSEN)}))
    parent = write(tmp_path / "subtracted.star", subtracted)
    assert apply_selection(tmp_path / "subset.parquet", parent, tmp_path / "out.star").by == "original"
    assert found(tmp_path) == CHOSEN.tolist()


def test_copies_of_an_image_are_one_particle(tmp_path: Path) -> None:
    """Symmetry-expanded, and back among particles that are not."""
    whole = columns()
    expanded = take(whole, [*CHOSEN, *CHOSEN[:7]])
    done = applied(tmp_path, expanded, whole)
    assert (done.n_selected, found(tmp_path)) == (len(CHOSEN), CHOSEN.tolist())
    assert "7 of the selected rows are copies of an image" in done.text
    assert applied(tmp_path, expanded, numbered_anew(whole, "job030")).by == "coordinates"
    with pytest.raises(InputError, match="of the parent are alike"):
        applied(tmp_path, take(whole, CHOSEN), take(whole, [*range(N), 1]))


def test_what_is_no_place_is_no_match(tmp_path: Path) -> None:
    whole = columns()
    parent = numbered_anew(whole, "job030")
    ours = take(whole, CHOSEN)
    ours["rlnCoordinateX"][3], parent["rlnCoordinateX"][CHOSEN[3]] = "nan", "1e300"
    with pytest.raises(InputError, match=r"by coordinates, 1 of 20 selected particles are missing \(rows 4 of"):
        applied(tmp_path, ours, parent, by="coordinates")
    with pytest.raises(InputError, match="no distance"):
        applied(tmp_path, ours, parent, tolerance=0.0)
    with pytest.raises(InputError, match="no distance"):
        applied(tmp_path, ours, parent, tolerance=float("inf"))


def test_a_table_that_selects_nothing_is_refused(tmp_path: Path) -> None:
    parent = write(tmp_path / "parent.star", columns())
    ids = particle_ids(columns()["rlnImageName"])
    write_table(tmp_path / "s.parquet", pa.table({"particle_id": ids, "selected": np.zeros(N, dtype=bool)}))
    with pytest.raises(InputError, match="it selects no particle"):
        apply_selection(tmp_path / "s.parquet", parent, tmp_path / "out.star")
