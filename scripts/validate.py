"""Rule validate: the evidence of one round."""

from cryocore.commands.edge import run
from cryocore.commands.stages.validate import validate

run(validate)
