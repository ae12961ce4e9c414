"""Rule plant: errors planted into real particles."""

from cryocore.commands.edge import run
from cryocore.commands.stages.plant import plant

run(plant)
