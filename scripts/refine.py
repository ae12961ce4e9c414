"""Rule refine: poses of a list of particles refined anew by RELION."""

from cryocore.commands.edge import run
from cryocore.commands.stages.refine import refine

run(refine)
