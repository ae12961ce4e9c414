"""Rule cache: compact transforms of the images."""

from cryocore.cli import run
from cryocore.commands.stages.cache import cache

run(cache)
