"""The run of one selection that answers are asked of."""

from tests.explore.conftest import run

__all__ = ["run"]
