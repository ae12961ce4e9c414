"""Sharpened maps against spectra that are known, and against RELION where it is installed."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from cryocore.commands.app import app
from cryocore.config.simulate import Simulate
from cryocore.errors import InputError
from cryocore.explore.postprocess import Halves, halves_of_round, postprocess, sharpen
from cryocore.explore.postprocess.sharpen import mean_amplitudes, reference_correlation
from cryocore.maps import automatic_mask, half_map_fsc, read_map, write_map
from cryocore.maps.fsc import fsc
from cryocore.maps.transforms import forward, whole
from cryocore.simulate.stage import true_map
from cryocore.tables.io import write_table

BOX, PIXEL, BFACTOR, NOISE = 64, 1.5, 120.0, 2.0
FREQUENCY = np.arange(BOX // 2 + 1) / (BOX * PIXEL)


def noisy_halves(signal: np.ndarray, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return tuple((signal + noise * rng.normal(size=signal.shape)).astype(np.float32) for _ in range(2))


def blurred_noise(bfactor: float) -> np.ndarray:
    """A map with amplitudes exp(-B s² / 4) and random phases."""
    k = [np.fft.fftfreq(BOX, PIXEL)] * 2 + [np.fft.rfftfreq(BOX, PIXEL)]
    squares = sum(np.square(f) for f in np.meshgrid(*k, indexing="ij"))
    spectrum = np.fft.rfftn(np.random.default_rng(3).normal(size=(BOX,) * 3)) * np.exp(-0.25 * bfactor * squares)
    return np.fft.irfftn(spectrum, s=(BOX,) * 3, axes=(0, 1, 2))


@pytest.fixture(scope="module")
def molecule(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Half maps and mask of a molecule with a B-factor."""
    folder = tmp_path_factory.mktemp("run") / "round_2"
    made = Simulate(molecule="small", pixel_size_angstrom=PIXEL, box=BOX, bfactor_angstrom2=BFACTOR)
    volume = true_map(made)
    halves = noisy_halves(volume, NOISE * float(volume.std()))
    for name, values in (("half1", halves[0]), ("half2", halves[1]), ("mask", automatic_mask(volume, PIXEL))):
        write_map(folder / f"{name}.mrc", values, PIXEL)
    np.savez(folder / "sampling.npz", last_shell=np.int64(BOX // 2))
    write_table(folder.parent / "rounds.parquet", pa.table({"round": [0, 2], "is_recommended": [False, True]}))
    return folder


def test_bfactor_and_amplitudes_are_recovered() -> None:
    first, second = noisy_halves(blurred_noise(BFACTOR), 0.2)
    curves = half_map_fsc(first, second, None, PIXEL)
    mean = 0.5 * (first + second)
    done = sharpen(mean, curves)
    assert done.fit is not None and done.fit.n_shells > 10 and done.resolution_angstrom < 4.5
    assert done.bfactor_angstrom2 == pytest.approx(-BFACTOR, abs=3 * done.fit.bfactor_sd_angstrom2)
    assert done.bfactor_angstrom2 == pytest.approx(-BFACTOR, rel=0.04)
    # what was an even spectrum before the fall-off is even again, and nothing is left beyond the edge of the low-pass
    amplitudes = mean_amplitudes(forward(done.volume, BOX, whole(BOX)))
    end = BOX * PIXEL / done.resolution_angstrom
    even = amplitudes[3 : int(end)]
    assert even.std() < 0.06 * even.mean()
    assert amplitudes[int(end) + 3 :].max() < 1e-4 * even.mean()
    # phases are the mean's
    assert fsc(done.volume, mean)[1 : int(end)].min() > 0.999
    logs = done.guinier
    assert np.allclose(logs.weighted - logs.original, np.log(reference_correlation(curves.corrected[1:])))


def test_given_bfactors_multiply_amplitudes() -> None:
    first, second = noisy_halves(blurred_noise(BFACTOR), 0.2)
    mean, curves = 0.5 * (first + second), half_map_fsc(first, second, None, PIXEL)
    plain, sharp = (
        mean_amplitudes(forward(sharpen(mean, curves, bfactor_angstrom2=b).volume, BOX, whole(BOX)))
        for b in (0.0, -BFACTOR)
    )
    assert np.allclose(np.log(sharp / plain)[1:20], 0.25 * BFACTOR * FREQUENCY[1:20] ** 2, atol=0.01)


def test_coarse_maps_are_not_sharpened_unless_asked(tmp_path: Path) -> None:
    halves = noisy_halves(blurred_noise(2000.0), 0.1)
    names = [tmp_path / f"{i}.mrc" for i in (1, 2)]
    for name, half in zip(names, halves, strict=True):
        write_map(name, half, PIXEL)
    found = postprocess(Halves(*names), tmp_path / "out")
    assert found.sharpened.resolution_angstrom > 10 and found.sharpened.fit is None
    assert found.sharpened.bfactor_angstrom2 == 0.0 and "not sharpened" in found.text
    given = sharpen(0.5 * (halves[0] + halves[1]), found.curves, bfactor_angstrom2=-500.0)
    assert given.fit is None and given.bfactor_angstrom2 == -500.0


def test_command_writes_everything(molecule: Path, tmp_path: Path) -> None:
    def call(*arguments: object) -> str:
        done = CliRunner().invoke(app, ["postprocess", *map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    value = json.loads(call(molecule.parent, "--out", tmp_path / "a", "--json"))
    assert value == json.loads((tmp_path / "a" / "postprocess.json").read_text())
    assert value["half1"] == str(molecule / "half1.mrc") and value["mask"] == str(molecule / "mask.mrc")
    assert all(Path(file).stat().st_size > 0 for file in value["files"])
    masked, pixel = read_map(tmp_path / "a" / "postprocess_masked.mrc")
    assert pixel == pytest.approx(PIXEL)
    assert np.array_equal(masked, read_map(tmp_path / "a" / "postprocess.mrc")[0] * read_map(molecule / "mask.mrc")[0])

    root = ET.parse(tmp_path / "a" / "fsc.xml").getroot()  # noqa: S314
    assert (root.tag, root.get("xaxis"), root.get("yaxis")) == ("fsc", "Resolution (A-1)", "Correlation Coefficient")
    assert [[v.tag for v in point] for point in root] == [["x", "y"]] * (BOX // 2)
    assert np.allclose([float(point[0].text) for point in root], FREQUENCY[1:], atol=1e-6)

    files = ("--half1", molecule / "half1.mrc", "--half2", molecule / "half2.mrc", "--mask", molecule / "mask.mrc")
    assert "B-factor -90 Å²" in call(*files, "--bfactor", -90, "--out", tmp_path / "b")
    assert (tmp_path / "b" / "fsc.xml").read_bytes() == (tmp_path / "a" / "fsc.xml").read_bytes()


def test_faults_of_the_input_are_named(molecule: Path, tmp_path: Path) -> None:
    half1 = molecule / "half1.mrc"
    with pytest.raises(InputError, match="the same map"):
        postprocess(Halves(half1, half1), tmp_path)
    write_map(tmp_path / "inverted.mrc", -read_map(half1)[0], PIXEL)
    with pytest.raises(InputError, match="the FSC of the half maps reaches"):
        postprocess(Halves(half1, tmp_path / "inverted.mrc", mask=molecule / "mask.mrc"), tmp_path)
    before = {file: file.read_bytes() for file in molecule.iterdir()}
    with pytest.raises(InputError, match="the folder of a round"):
        postprocess(halves_of_round(molecule.parent, "2"), molecule)
    with pytest.raises(InputError, match="setting --bfactor: -1e"):
        postprocess(halves_of_round(molecule.parent, "2"), tmp_path / "big", bfactor_angstrom2=-1e9)
    assert {file: file.read_bytes() for file in molecule.iterdir()} == before and not (tmp_path / "big").exists()
    with pytest.raises(InputError, match="there are 2"):
        halves_of_round(molecule.parent, "7")
    runner = CliRunner()
    for arguments, problem in (
        ([str(molecule.parent), "--bfactor", "sharp"], "is no B-factor"),
        ([str(molecule.parent), "--half1", str(half1)], "not clear which half maps"),
        ([], "not clear which half maps"),
    ):
        error = runner.invoke(app, ["postprocess", *arguments]).exception
        assert isinstance(error, InputError) and problem in str(error)


@pytest.mark.skipif(shutil.which("relion_postprocess") is None, reason="no relion_postprocess on the PATH")
def test_map_is_that_of_relion(molecule: Path, tmp_path: Path) -> None:
    halves = halves_of_round(molecule.parent, "last")
    ours = postprocess(halves, tmp_path / "ours")
    resolution = ours.sharpened.resolution_angstrom
    (tmp_path / "theirs").mkdir()
    given = {"--i": halves.half1, "--i2": halves.half2, "--mask": halves.mask, "--o": tmp_path / "theirs" / "pp"}
    fit = {"--autob_lowres": 10, "--autob_highres": resolution, "--angpix": PIXEL}
    command = ["relion_postprocess", "--auto_bfac", *(str(v) for pair in {**given, **fit}.items() for v in pair)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    star = tmp_path / "theirs" / "pp.star"
    assert star.exists(), done.stderr
    lines = (line.split() for line in star.read_text().splitlines())
    values = {line[0]: line[1] for line in lines if len(line) == 2}
    shell = BOX * PIXEL / resolution
    # RELION names the last shell above 0.143, not a place between two, and its one set of random phases moves it by one
    assert abs(shell - BOX * PIXEL / float(values["_rlnFinalResolution"])) < 2.0
    bfactor = float(values["_rlnBfactorUsedForSharpening"])
    # the same amplitudes, but RELION's FSC, which weighs them, has other random phases
    assert ours.sharpened.fit is not None
    assert ours.sharpened.bfactor_angstrom2 == pytest.approx(bfactor, abs=ours.sharpened.fit.bfactor_sd_angstrom2)
    theirs, _ = read_map(tmp_path / "theirs" / "pp.mrc")
    as_theirs = postprocess(halves, tmp_path / "as_theirs", bfactor_angstrom2=bfactor).sharpened.volume
    assert fsc(as_theirs, theirs)[1 : int(shell)].min() > 0.99
    mine, other = (mean_amplitudes(forward(v, BOX, whole(BOX))) for v in (as_theirs, theirs))
    assert np.abs(np.log(mine / other))[1 : int(shell)].max() < 0.05
    # RELION writes a file for EMDB as well
    (deposited,) = (ET.parse(path).getroot() for path in (tmp_path / "theirs").glob("*.xml"))  # noqa: S314
    root = ET.parse(tmp_path / "ours" / "fsc.xml").getroot()  # noqa: S314
    assert root.tag == deposited.tag and {"title", "xaxis", "yaxis"} == set(root.attrib) == set(deposited.attrib)
    assert root.attrib["xaxis"] == deposited.attrib["xaxis"]
    points, expected = ({float(p.findtext("x", "")): float(p.findtext("y", "")) for p in r} for r in (root, deposited))
    assert {p.tag for p in deposited} == {p.tag for p in root}
    for frequency, value in list(points.items())[: int(shell) - 1]:
        nearest = min(expected, key=lambda x: abs(x - frequency))
        assert nearest == pytest.approx(frequency, rel=2e-3) and value == pytest.approx(expected[nearest], abs=0.05)
