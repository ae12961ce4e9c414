"""Rule report: all rounds in one table and one page."""

from cryocore.cli import run
from cryocore.commands.stages.report import report

run(report)
