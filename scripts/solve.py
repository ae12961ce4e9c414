"""Rule reconstruct, by iteration: the half maps of one round by minimising a robust loss."""

from cryocore.commands.edge import run
from cryocore.commands.stages.solve import solve

run(solve)
