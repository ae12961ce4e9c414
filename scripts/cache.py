"""Rule cache: compact transforms of the images."""

from cryocore.commands.edge import run
from cryocore.commands.stages.cache import cache

run(cache)
