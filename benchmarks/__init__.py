"""Measurements: ``benchmarks.validation`` (is it right?) and ``benchmarks.performance`` (is it fast?)."""
