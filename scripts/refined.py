"""Rule refined: what refining poses has given, in one table."""

from cryocore.commands.edge import run
from cryocore.commands.stages.refined import refined

run(refined)
