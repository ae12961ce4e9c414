"""A byte that changes in a file between two stages is noticed by the one that reads it."""

from __future__ import annotations

from pathlib import Path

import mrcfile
import numpy as np
import pyarrow as pa
import pytest

from cryocore.errors import InputError
from cryocore.maps.mrc import read_map, write_map
from cryocore.tables.io import open_arrays, open_table, read_table, stream_array, write_table
from cryocore.tables.shards import Shard

RNG = np.random.default_rng(0)


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0x10
    path.write_bytes(raw)


@pytest.mark.parametrize("share", [0.05, 0.5, 0.999])
def test_a_voxel(tmp_path: Path, share: float) -> None:
    path = tmp_path / "half1.mrc"
    write_map(path, RNG.normal(size=(16, 16, 16)), 2.0)
    read_map(path)
    flip(path, 1024 + int(share * 4 * 16**3) // 4 * 4)  # the last bits of a value: a number as good as any
    with pytest.raises(
        InputError, match=r"half1\.mrc: damaged: its voxels do not match .* Delete it and run snakemake"
    ):
        read_map(path)


def test_a_map_that_another_program_changed_is_no_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "mask.mrc"
    write_map(path, np.ones((8, 8, 8)), 2.0)
    with mrcfile.open(path, mode="r+") as mrc:
        mrc.data[0] = 0.0
        mrc.add_label("masked by hand")
    assert read_map(path)[0][0].max() == 0.0


@pytest.mark.parametrize("name", ["z", "particle_id"])
def test_a_value_of_a_table(tmp_path: Path, name: str) -> None:
    path, n = tmp_path / "scores.parquet", 400_000
    write_table(path, pa.table({"particle_id": RNG.integers(0, 2**63, n), "z": RNG.normal(size=n)}))
    with open_table(path) as file:
        column = file.schema_arrow.names.index(name)
        chunk = file.metadata.row_group(2).column(column)
    flip(path, chunk.data_page_offset + chunk.total_compressed_size // 2)
    other = "z" if name == "particle_id" else "particle_id"
    assert len(read_table(path, [other])) == n
    with pytest.raises(InputError, match=r"scores\.parquet: not a readable Parquet file .*CRC.* Delete it"):
        read_table(path, [name])
    assert len(read_table(path, [name], shard=Shard(0, 3))) == n // 3
    with pytest.raises(InputError, match="CRC"):
        read_table(path, [name], shard=Shard(2, 3))


def test_what_fails_in_another_file_is_not_put_down_to_the_table(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    write_table(path, pa.table({"z": [1.0]}))
    with pytest.raises(FileNotFoundError), open_table(path):
        (tmp_path / "other").read_bytes()


def test_an_array(tmp_path: Path) -> None:
    path = tmp_path / "sums.npz"
    np.savez(path, sums=RNG.normal(size=(10, 100)))
    with stream_array(path, "sums", "sums") as piece:
        assert piece((4, 100)).shape == (4, 100) and piece((6, 100)).shape == (6, 100)
    flip(path, path.stat().st_size // 2)
    with pytest.raises(InputError, match=r"sums\.npz: the sums cannot be read"), open_arrays(path, "sums") as file:
        file["sums"]
    with (
        pytest.raises(InputError, match=r"sums\.npz: the sums cannot be read"),
        stream_array(path, "sums", "sums") as piece,
    ):
        piece((10, 100))
