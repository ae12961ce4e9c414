"""Planted errors found, or not: the benchmark of scores and rules that find incorrect particles.

``grid.yaml`` declares molecules, kinds of error, rates, signal-to-noise ratios and sizes. Every combination is a case:
an ordinary configuration, run by the ordinary workflow, measured against the truth and against what any method could
reach. ``trouble.yaml`` declares what real data sets have: what the user is told there, and whether it is right.

    python -m experiments list      the cases
    python -m experiments run       run and measure some of them
    python -m experiments table     write docs/measurements/experiments.md and its like from what was measured
"""
