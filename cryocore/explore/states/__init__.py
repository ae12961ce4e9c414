"""Particles in a second state: a part of the molecule that is missing in some, or elsewhere."""

from cryocore.explore.states.measure import Second, States, states

__all__ = ["Second", "States", "states"]
