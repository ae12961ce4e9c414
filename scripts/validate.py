"""Rule validate: the evidence of one round, and its part of the log."""

from cryocore.commands.edge import run
from cryocore.commands.stages.validate import validate

run(validate)
