"""Rule classify: the probability of being right, by residual images."""

from cryocore.cli import run
from cryocore.commands.stages.classify import classify

run(classify)
