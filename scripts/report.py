"""Rule report: all rounds in one table and one page."""

from cryocore.commands.edge import run
from cryocore.commands.stages.report import report

run(report)
