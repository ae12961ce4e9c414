"""Orientation diagnostics: does a selection make views or maps less even, does it remove a view or a micrograph?"""

from cryocore.orientation.diagnosis import Orientation, orientation
from cryocore.orientation.figures import orientation_figure

__all__ = ["Orientation", "orientation", "orientation_figure"]
