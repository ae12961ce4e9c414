"""Rule select: the particles of the next round."""

from cryocore.cli import run
from cryocore.commands.stages.select import select

run(select)
