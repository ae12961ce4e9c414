"""All rounds of a run in one table and one page."""

from cryocore.report.summary import summarise

__all__ = ["summarise"]
