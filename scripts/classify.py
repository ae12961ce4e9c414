"""Rule classify: the probability of being correct, by residual images."""

from cryocore.commands.edge import run
from cryocore.commands.stages.classify import classify

run(classify)
