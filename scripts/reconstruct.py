"""Rule reconstruct: the half maps of one round."""

from cryocore.commands.edge import run
from cryocore.commands.stages.reconstruct import reconstruct

run(reconstruct)
