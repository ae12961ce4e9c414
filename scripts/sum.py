"""Rule sum: the Fourier sums of one shard of the particles."""

from cryocore.commands.edge import run
from cryocore.commands.stages.sum import sum

run(sum)
