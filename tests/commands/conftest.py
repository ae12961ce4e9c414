from tests.runs import make_run

__all__ = ["make_run"]
