"""Every broken input, by name."""

from __future__ import annotations

from collections.abc import Mapping

from tests.faults.case import Case
from tests.faults.config_cases import CONFIGURATIONS
from tests.faults.image_cases import IMAGES
from tests.faults.particle_cases import PARTICLES
from tests.faults.star_cases import STAR
from tests.faults.table_cases import TABLES

KINDS: Mapping[str, Mapping[str, Case]] = {
    "STAR file": STAR,
    "particles": PARTICLES,
    "images and maps": IMAGES,
    "configuration": CONFIGURATIONS,
    "tables and arrays": TABLES,
}
CASES = {f"{kind}: {name}": case for kind, cases in KINDS.items() for name, case in cases.items()}
