"""Rule truth: what is known of the particles beforehand."""

from cryocore.commands.edge import run
from cryocore.commands.stages.truth import truth

run(truth)
