"""Rule select: the particles of the next round."""

from cryocore.commands.edge import run
from cryocore.commands.stages.select import select

run(select)
