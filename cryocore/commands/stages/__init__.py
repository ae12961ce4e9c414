"""The command line of every stage: what its rule runs (``scripts/``), and what a person runs as ``cryocore STAGE``.

A module per stage, whose function has the stage's files and options as typer reads them, and hands them to the stage.
What a module here imports, also inside its function, is code of that stage and decides about its reruns.
"""
