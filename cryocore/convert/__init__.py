"""Files of particles in another format, or with the selection of another file."""
