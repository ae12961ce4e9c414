"""Rule noise: what noise the shards of one round are scored with."""

from cryocore.commands.edge import run
from cryocore.commands.stages.noise import noise

run(noise)
