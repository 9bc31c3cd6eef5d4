"""Inner loops of `search`, compiled by Numba; each gives the results of its PyTorch counterpart."""
