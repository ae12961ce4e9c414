"""Orientation diagnostics: does a selection make views or maps less even, does it remove a view or a micrograph?

``diagnosis.orientation`` answers for a run, ``figures.orientation_figure`` draws the answer.
"""
