"""The stage that puts the logs of all shards together; it knows their tables, and nothing of scores."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from cryocore.data import require_same_particles
from cryocore.errors import InputError
from cryocore.files import AGAIN, as_numpy, open_table, read_table, table_metadata, write_tables
from cryocore.shards import Shard

log = logging.getLogger(__name__)


def gather(particles: Path, shards: list[Path], out: Path) -> None:
    """Write the log of a round from those of its shards, in the order of the particles.

    Raises
    ------
    InputError  if a shard is of other particles, or was scored with other settings.
    """
    first: dict[str, Any] = {}

    def tables() -> Iterator[pa.Table]:
        for i, path in enumerate(shards):
            ids = as_numpy(read_table(particles, ["particle_id"], shard=Shard(i, len(shards))).column("particle_id"))
            require_same_particles(as_numpy(read_table(path, ["particle_id"]).column("particle_id")), ids, file=path)
            with open_table(path) as file:
                metadata = table_metadata(file.schema_arrow)
                if metadata != (first or metadata):
                    raise InputError("scored otherwise than the first shard", file=path, remedy=AGAIN)
                first.update(metadata)
                for group in range(file.num_row_groups):
                    yield file.read_row_group(group)

    write_tables(out, tables())
    log.info("gathered %d shards", len(shards))
