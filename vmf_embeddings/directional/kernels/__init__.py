"""Inner loops of `directional`, compiled by Numba; each equals its PyTorch counterpart."""
