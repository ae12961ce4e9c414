"""Tables of particles, and how tables and arrays are kept in files."""
