"""Files with planted errors: synthetic data sets, and errors in a real one."""
