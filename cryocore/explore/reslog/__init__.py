"""Resolution against the number of particles, and the B-factor that explains it."""

from cryocore.explore.reslog.fit import ResLogFit, fit_bfactor
from cryocore.explore.reslog.measure import Point, Series, reslog

__all__ = ["Point", "ResLogFit", "Series", "fit_bfactor", "reslog"]
