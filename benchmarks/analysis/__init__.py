"""Size and power of the tests of direction, and the time they take."""
