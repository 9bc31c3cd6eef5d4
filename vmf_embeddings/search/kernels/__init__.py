"""Inner loops of `search`, compiled by Numba; each equals its PyTorch counterpart."""
