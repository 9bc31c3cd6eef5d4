"""2021's sampler: equal to the recorded reference, and wrong where it is documented to be."""

import pytest
import torch

from vmf_embeddings.directional import householder_transform, mean_cosine, sample, sample_cosine
from vmf_embeddings.directional.reference_sampler import reference_b, reference_proposal

from ..conftest import cases


def test_golden_transform_and_gradients(golden):
    data = golden("vmf_sampler_transform")
    for case in cases(data):
        load = {key: torch.from_numpy(data[f"{case}/{key}"]) for key in ("loc", "kappa", "normals")}
        loc, kappa = load["loc"].requires_grad_(), load["kappa"].squeeze(-1).requires_grad_()
        dim = loc.shape[-1]
        if dim == 3:
            u = torch.from_numpy(data[f"{case}/u"]).squeeze(-1)
            w = 1 + torch.stack((u.log(), (1 - u).log() - 2 * kappa)).logsumexp(0) / kappa
        else:
            draws = torch.from_numpy(data[f"{case}/beta_draws"]).squeeze(-1)
            w, log_ratio = reference_proposal(kappa, draws, dim)
            wanted = torch.from_numpy(data[f"{case}/log_accept_ref"]).squeeze(-1)
            torch.testing.assert_close(log_ratio, wanted, rtol=1e-10, atol=1e-10)
            wanted = torch.from_numpy(data[f"{case}/b_ref"]).squeeze(-1)
            torch.testing.assert_close(reference_b(kappa, dim).expand_as(wanted), wanted)
        points = householder_transform(w, load["normals"], loc)
        close = {"rtol": 1e-9, "atol": 1e-12}
        torch.testing.assert_close(w, torch.from_numpy(data[f"{case}/w"]).squeeze(-1), **close)
        torch.testing.assert_close(points, torch.from_numpy(data[f"{case}/z"]), **close)
        (points * torch.from_numpy(data[f"{case}/upstream"])).sum().backward()
        wanted = torch.from_numpy(data[f"{case}/grad_loc"])
        torch.testing.assert_close(loc.grad, wanted, **close)
        wanted = torch.from_numpy(data[f"{case}/grad_kappa"]).squeeze(-1)
        torch.testing.assert_close(kappa.grad, wanted, **close)


def test_b_is_exact_up_to_ten_and_blends_to_eleven():
    kappa = torch.tensor([2.0, 10.0, 10.5, 11.0, 40.0], dtype=torch.float64)
    exact = 63 / (2 * kappa + (4 * kappa.square() + 63**2).sqrt())
    swapped = 63 / (4 * kappa)
    weight = torch.tensor([0, 0, 0.5, 1, 1], dtype=torch.float64)
    wanted = weight * swapped + (1 - weight) * exact
    torch.testing.assert_close(reference_b(kappa, 64), wanted)


@pytest.mark.parametrize(("dim", "kappa"), [(2, 4.0), (3, 300.0), (8, 5.0), (128, 9.0)])
def test_right_below_ten_and_in_three_dimensions(dim, kappa):
    rng = torch.Generator().manual_seed(0)
    wide = torch.tensor(kappa, dtype=torch.float64)
    w = sample_cosine(wide, dim, 20_000, sampler="reference", generator=rng)
    error = w.std() / len(w) ** 0.5
    assert abs(w.mean() - mean_cosine(wide, dim)) < 4 * error


def test_wrong_where_documented():
    """At d = 128 the recorded reference means are -0.4487 (kappa 12) and 0.3052 (kappa 60)."""
    rng = torch.Generator().manual_seed(0)
    mu = torch.eye(128)[3]
    for kappa, recorded in ((12.0, -0.4487), (60.0, 0.3052)):
        points = sample(mu, torch.tensor(kappa), 4000, sampler="reference", generator=rng)
        assert points[:, 3].mean().item() == pytest.approx(recorded, abs=0.01)
        torch.testing.assert_close(points.square().sum(-1), torch.ones(4000), rtol=0, atol=1e-5)


def test_the_generator_alone_determines_the_draws():
    mu, kappa = torch.eye(3, 6), torch.tensor([1.0, 5.0, 50.0])
    draws = [
        sample(mu, kappa, 4, sampler="reference", generator=torch.Generator().manual_seed(3))
        for _ in range(2)
    ]
    torch.testing.assert_close(*draws, rtol=0, atol=0)
