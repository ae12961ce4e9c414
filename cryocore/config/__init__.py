"""The settings of a run, a module for each stage: what a stage imports of them is all that it depends on."""
