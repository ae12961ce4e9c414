"""Rule join: one STAR file of several files of particles."""

from cryocore.commands.edge import run
from cryocore.commands.stages.join import join

run(join)
