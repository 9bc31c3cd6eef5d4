"""Matrix products are those of float64, whichever library computes them."""

import pytest
import torch

from vmf_embeddings.directional import products


@pytest.mark.parametrize("has_one_dnn", [True, False])
@pytest.mark.parametrize("shape", [(3, 5, 2), (100, 64, 128), (1, 1, 1), (0, 4, 3), (4, 0, 3)])
def test_a_product_is_that_of_float64_in_any_layout(shape, has_one_dnn, monkeypatch):
    if not has_one_dnn:
        monkeypatch.setattr(products, "_has_one_dnn", lambda: False)
    m, n, dim = shape
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(rows, dim, generator=rng, dtype=torch.float64) for rows in (m, n))
    torch.testing.assert_close(products.product(a, b), a @ b.T)
    for left in (a.float(), a.float().T.contiguous().T):
        for right in (b.float(), b.float().T.contiguous().T):
            found = products.product(left, right)
            torch.testing.assert_close(found.double(), a @ b.T, rtol=1e-5, atol=1e-5)


def test_the_operation_of_one_dnn_is_the_one_that_is_known():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this PyTorch has no oneDNN")
    assert products._has_one_dnn()
