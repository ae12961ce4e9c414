"""Rule look: particles and maps of what a run leaves out."""

from cryocore.commands.edge import run
from cryocore.commands.stages.look import look

run(look)
