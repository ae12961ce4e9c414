"""Rotations, point groups and pseudo-random poses."""
