"""Inner loops of `directional` compiled by Numba; each computes what its PyTorch version does."""
