"""Rule score: every particle against the maps of one round."""

from cryocore.commands.edge import run
from cryocore.commands.stages.score import score

run(score)
