"""Runs with maps, as the tests of ``validate`` make them."""

from tests.validate.conftest import make_run

__all__ = ["make_run"]
