"""Sums of compiled code do not depend on the number of threads."""

import pytest
import torch

from vmf_embeddings import native
from vmf_embeddings.directional.partition import log_partition

if not native.enabled():
    pytest.skip("Numba is not installed", allow_module_level=True)

from vmf_embeddings.directional.kernels import partition_compiled  # noqa: E402 - imports Numba


@pytest.mark.parametrize("dim", [3, 64])
@pytest.mark.parametrize("antithetic", [False, True])
def test_the_log_partition_is_equal_to_the_last_bit(dim, antithetic, monkeypatch):
    monkeypatch.setenv(native.SWITCH, "1")
    monkeypatch.setattr(partition_compiled, "LOGITS_PER_PART", 200)
    rng = torch.Generator().manual_seed(dim)
    mu = torch.nn.functional.normalize(torch.randn(37, dim, generator=rng), dim=-1)
    angle = 3 * torch.rand(4, 37, generator=rng)
    weights = 5 * torch.randn(23, dim, generator=rng)

    def on(n_threads):
        torch.set_num_threads(n_threads)
        draws = torch.Generator().manual_seed(0)
        return log_partition(mu, angle, weights, torch.tensor(2.3), antithetic, draws)

    before = torch.get_num_threads()
    try:
        alone, *others = [on(n) for n in (1, 2, 3)]
    finally:
        torch.set_num_threads(before)
    for other in others:
        assert all(torch.equal(x, y) for x, y in zip(alone, other, strict=True))
