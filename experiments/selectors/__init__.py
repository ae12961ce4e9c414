"""Particle selectors side by side on the same files: what each says of every particle, and what its choice is worth.

``sets.yaml`` declares the data sets, most of them half real; every file of ``methods/`` is one program: how it is
called on a data set, and where it leaves its numbers. ``docs/how-to/add-a-selector.md`` tells how to add one.
"""
