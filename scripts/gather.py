"""Rule gather: the scores of all shards as one table."""

from cryocore.commands.edge import run
from cryocore.commands.stages.gather import gather

run(gather)
