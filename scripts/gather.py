"""Rule gather: the scores of all shards as one table."""

from cryocore.cli import run
from cryocore.commands.stages.gather import gather

run(gather)
