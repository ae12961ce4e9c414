"""Files of other programs are called by their names, by content and by suffix, wherever they are given."""

from __future__ import annotations

import bz2
import gzip
import lzma
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cryocore.convert.convert import convert
from cryocore.convert.info import describe
from cryocore.errors import InputError
from cryocore.formats.foreign import identify
from cryocore.formats.kinds import read_tables
from cryocore.formats.stacks import read_header
from cryocore.maps.mrc import read_map
from tests.ingest.samples import noise_images, particle_columns, table, write_data_set, write_mrc

NOISE = np.random.default_rng(0).bytes(3000)
CISTEM = "# Written by cisTEM\ndata_\n\nloop_\n_cisTEMPositionInStack #1\n_cisTEMAnglePsi #2\n 1 20.0\n"
GROUP = "created: 2024\ngroup: {name: particles}\nresults:\n  blob: {metafile: '>J5_particles.cs', num_items: 3}\n"
BINARY: dict[str, tuple[bytes, str]] = {
    "a.tif": (b"II*\0\x08\0\0\0" + NOISE, "a TIFF file"),
    "b.tif": (b"MM\0*\0\0\0\x08" + NOISE, "a TIFF file"),
    "big.tif": (b"II+\0\x08\0\0\0\x10\0\0\0" + NOISE, "a TIFF file"),
    "a.eer": (b"II+\0\x08\0\0\0\x10\0\0\0" + NOISE, "an EER movie"),
    "a.hdf": (b"\x89HDF\r\n\x1a\n" + NOISE, "an HDF5 file.*e2proc2d"),
    "a.mrcs.gz": (gzip.compress(NOISE), "compressed .gzip..*Decompress"),
    "a.mrcs.bz2": (bz2.compress(NOISE), "compressed .bzip2..*Decompress"),
    "a.mrcs.xz": (lzma.compress(NOISE), "compressed .xz..*Decompress"),
    "a.mrcs.zst": (b"\x28\xb5\x2f\xfd" + NOISE, "compressed .zstd..*Decompress"),
    "a.mrcs.lz4": (b"\x04\x22\x4d\x18" + NOISE, "compressed .lz4..*Decompress"),
    "a.pkl": (pickle.dumps((np.eye(3), np.zeros(400))), "a Python pickle, which is never loaded.*write_star"),
    "two.pkl": (pickle.dumps(list(range(900)), protocol=2), "a Python pickle"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + NOISE, "an Excel workbook"),
    "a.xlsx": (b"PK\x03\x04" + NOISE, "an Excel workbook"),
    "a.npz": (b"PK\x03\x04" + NOISE, "a zip archive"),
    "a.db": (b"SQLite format 3\0" + NOISE, "an SQLite database"),
    "a.dm4": (b"\0\0\0\4\0\0\0\0" + b"\xff" * 2000, "a Gatan file"),
    "a.tar": (b"name".ljust(257, b"\0") + b"ustar" + NOISE, "a tar archive"),
    "a.png": (b"\x89PNG\r\n\x1a\n" + NOISE, "a PNG picture"),
    "old.cs": (b"\x94CSDAT" + NOISE, "a compressed cryoSPARC data set"),
}
TEXT: dict[str, tuple[str, str]] = {
    "a.csg": (GROUP, "a cryoSPARC result group.* Give the .cs file that it names: J5_particles.cs"),
    "cistem.star": (CISTEM, "a cisTEM STAR file"),
    "warp.star": ("data_\n\nloop_\n_wrpCoordinateX1 #1\n_wrpAngleRot1 #2\n1 2\n", "a STAR file of Warp or M"),
    "a.xmd": ("# XMIPP_STAR_1 *\ndata_noname\nloop_\n _image\n _angleRot\n 1@a.stk 3\n", "an Xmipp metadata file"),
    "a.par": ("C           PSI   THETA     PHI       SHX\n      1  20.0 30.0 40.0 1.0\n", "a FREALIGN parameter file"),
    "plain.par": ("      1  20.0 30.0 40.0 1.0\n", "a FREALIGN parameter file"),
    "a.tbl": ("1 1 1 0 0 0 10 20 30\n", "a Dynamo table"),
    "a.lst": ("#LSX\n# This file is in fast LST format\n0\tparticles/a.hdf\n", "an EMAN2 list"),
    "a.csv": ("image,rot,tilt\n1@a.mrcs,10,20\n", "a table of comma-separated values"),
    "a.pdb": ("HEADER    HYDROLASE\nATOM      1  N   MET A   1      27.3  24.4   2.6\n", "an atomic model .PDB"),
    "a.cif": ("data_1ABC\n#\n_entry.id 1ABC\nloop_\n_atom_site.id\n1\n", "an atomic model .mmCIF"),
    "a.html": ("<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "a web page, not the file itself"),
    "lfs.star": ("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "a pointer of Git LFS"),
    "run_optimiser.star": (
        "data_optimiser_general\n\n_rlnOutputRootName Refine3D/job1/run\n",
        "a RELION file about a refinement.*_data.star",
    ),
    "job.star": ("data_job\n\n_rlnJobTypeLabel relion.refine3d\n", "a RELION file about jobs"),
    "a.json": ('{"particles": []}\n', "a JSON file"),
}
READERS: dict[str, Callable[[Path], object]] = {
    "info": describe,
    "particles": read_tables,
    "stack": read_header,
    "map": read_map,
}
BY_NAME = {"plain.par", "a.tbl", "a.csv", "a.dm4", "a.xlsx"}
FILES = {**BINARY, **{name: (text.encode(), says) for name, (text, says) in TEXT.items()}}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", FILES)
def test_named_by_every_reader(tmp_path: Path, name: str, reader: str) -> None:
    content, says = FILES[name]
    if reader == "map" and content.startswith(b"\x1f\x8b"):
        pytest.skip("gzipped maps are read")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"it is {says}") as caught:
        READERS[reader](tmp_path / name)
    if reader == "info" and not name.endswith((".star", ".cs")):
        assert caught.value.problem.startswith("it is")


@pytest.mark.parametrize("name", sorted({*FILES} - BY_NAME))
def test_content_comes_before_the_name(tmp_path: Path, name: str) -> None:
    content, says = FILES[name]
    path = tmp_path / "particles.mrcs"
    path.write_bytes(content)
    says = "a TIFF file" if name == "a.eer" else says
    with pytest.raises(InputError, match=f"it is {says}"):
        read_header(path)


def test_own_files_are_no_foreign_ones(tmp_path: Path) -> None:
    star = write_data_set(tmp_path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    own = {"star": star, "mrc": tmp_path / "a.mrcs", "npy": tmp_path / "a.npy"}
    for kind, path in own.items():
        assert identify(path, but=kind) is None
        assert identify(path).kind == kind
    with pytest.raises(InputError, match=r"it is an MRC file\. Give the table that names its images"):
        read_tables(tmp_path / "a.mrcs")
    with pytest.raises(InputError, match="not an MRC stack: it is a STAR file"):
        read_header(star)
    with pytest.raises(InputError, match="not a cryoSPARC file: it is a STAR file"):
        read_tables(star.rename(tmp_path / "a.cs"))


def test_convert_names_its_source(tmp_path: Path) -> None:
    (tmp_path / "a.csg").write_text(GROUP)
    with pytest.raises(InputError, match=r"a.csg: it is a cryoSPARC result group.*names: J5_particles.cs"):
        convert(tmp_path / "a.csg", tmp_path / "a.star")
    with pytest.raises(InputError, match=r"its suffix names no format of particles"):
        convert(write_data_set(tmp_path).rename(tmp_path / "a.txt"), tmp_path / "a.cs")


def test_a_map_under_any_name_is_described(tmp_path: Path) -> None:
    write_mrc(tmp_path / "tomogram.rec", noise_images())
    assert describe(tmp_path / "tomogram.rec")["sides"] == "16 x 16 x 8"
    (tmp_path / "a.txt").write_text(table("particles", particle_columns()))
    assert describe(tmp_path / "a.txt")["particles"] == 8
