"""Speed and memory: kernels alone, whole reconstructions beside RELION's on the same files."""
