"""Rule ingest: from a file of particles to the particle table."""

from cryocore.commands.edge import run
from cryocore.commands.stages.ingest import ingest

run(ingest)
