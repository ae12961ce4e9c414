"""Evidence that the maps, the selections and the files are right: ``make validation``.

Every section measures one thing in a temporary directory and returns plain numbers. They go to
``benchmarks/results/validation/<machine>.json``, from which ``docs/measurements/accuracy.md`` is written.
"""
