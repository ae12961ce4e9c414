"""The stage that puts the scores of all shards together as the log of a round."""

from __future__ import annotations

import logging
from pathlib import Path

from cryocore.errors import InputError
from cryocore.log.complete import write_log
from cryocore.tables.io import AGAIN, as_numpy, read_schema, read_table, table_metadata
from cryocore.tables.particles import require_same_particles
from cryocore.tables.shards import Shard

log = logging.getLogger(__name__)


def gather(particles: Path, shards: list[Path], *, seed: int, out: Path) -> None:
    """Write the log of a round from the scores of its shards, in the order of the particles.

    Raises
    ------
    InputError  if a shard is of other particles, or was scored with other settings.
    """
    metadata = table_metadata(read_schema(shards[0]))
    for i, path in enumerate(shards):
        ids = as_numpy(read_table(particles, ["particle_id"], shard=Shard(i, len(shards))).column("particle_id"))
        require_same_particles(as_numpy(read_table(path, ["particle_id"]).column("particle_id")), ids, file=path)
        if table_metadata(read_schema(path)) != metadata:
            raise InputError("scored otherwise than the first shard", file=path, fix=AGAIN)
    write_log(out, shards, seed=seed)
    log.info("gathered %d shards", len(shards))
