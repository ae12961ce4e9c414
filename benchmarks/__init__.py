"""What cryocore is measured by; raw numbers in ``results``, pages in ``docs``."""
