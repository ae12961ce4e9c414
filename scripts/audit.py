"""Rule audit: a referee's questions to the list that a run recommends."""

from cryocore.commands.edge import run
from cryocore.commands.stages.audit import audit

run(audit)
