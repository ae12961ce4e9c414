"""What a referee asks of a list of particles."""

from cryocore.explore.audit.audit import Audit, Plan, audit

__all__ = ["Audit", "Plan", "audit"]
