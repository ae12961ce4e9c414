"""The command line ``cryocore``: one module per verb, each a thin cover of a library call.

Modules of this package import what computes inside their functions, so that ``cryocore --help`` is quick.
"""

import os

# Products of matrices are small, or must not depend on the number of threads; those that NumPy starts wait busily.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
