"""Measurements: ``python -m benchmarks.validation`` (is it right?), ``python -m benchmarks.performance`` (is it fast?)."""
