"""Rule examine: questions to the data set as a whole."""

from cryocore.commands.edge import run
from cryocore.commands.stages.examine import examine

run(examine)
