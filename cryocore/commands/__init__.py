"""The command line ``cryocore``: one module per verb, each a thin cover of a library call.

Modules of this package import what computes inside their functions, so that ``cryocore --help`` is quick.
"""
