"""Rule simulate: a synthetic data set with planted errors."""

from cryocore.commands.edge import run
from cryocore.commands.stages.simulate import simulate

run(simulate)
