"""Rule reconstruct, by iteration: the half maps of one round by minimising a robust loss."""

from cryocore.cli import run
from cryocore.commands.stages.solve import solve

run(solve)
