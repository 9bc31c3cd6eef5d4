"""AutoAugment on batches does to every image what torchvision does to it alone."""

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from vmf_embeddings.datasets.autoaugment import apply_policies, random_policies
from vmf_embeddings.datasets.autoaugment_batched import apply_at_once
from vmf_embeddings.datasets.autoaugment_operations import policy_table


def random_images(n, channels=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, 32, 32), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("apply", [apply_policies, apply_at_once])
@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_torchvisions_under_the_same_draw(channels, apply, monkeypatch):
    """All 25 policies with both signs, steps taken, left out, and one of the two."""
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    policy = torch.arange(25).repeat(8)
    sign = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).repeat_interleave(25, 0).repeat(2, 1)
    drawn = torch.rand(200, 2, generator=torch.Generator().manual_seed(1))
    drawn[:100] = 0.0
    images = random_images(200, channels)
    images[:50] //= 4  # contrast to gain
    images[50:60] = 7
    ours = apply(images, policy, drawn, sign)
    reference = AutoAugment(AutoAugmentPolicy.CIFAR10, fill=[128.0] * channels)
    for i in range(200):
        draw = int(policy[i]), drawn[i], sign[i]
        monkeypatch.setattr(reference, "get_params", lambda _n, draw=draw: draw)
        assert torch.equal(ours[i], reference(images[i])), i


def test_policies_are_drawn_equally_often_and_apart_for_each_image(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "vmf_embeddings.datasets.autoaugment.apply_policies",
        lambda images, policy, drawn, sign: seen.update(policy=policy, drawn=drawn, sign=sign),
    )
    random_policies(random_images(1).expand(10_000, 3, 32, 32), torch.Generator().manual_seed(0))
    joint = seen["policy"] * 4 + seen["sign"] @ torch.tensor([2, 1])
    assert chisquare(torch.bincount(joint, minlength=100).numpy()).pvalue > 1e-3
    assert chisquare(np.histogram(seen["drawn"].numpy(), 20, (0, 1))[0]).pvalue > 1e-3


def test_the_argument_stays_and_a_generator_decides():
    images = random_images(64)
    before = images.clone()
    first, again = (random_policies(images, torch.Generator().manual_seed(2)) for _ in range(2))
    assert torch.equal(images, before)
    assert torch.equal(first, again)
    assert not torch.equal(first, images)


def test_the_table_holds_every_operation_once():
    operations, index, chances = policy_table(32, 32)
    assert len(set(operations)) == len(operations)
    assert index.shape == (25, 2, 2)
    assert (chances >= 0).all()
    assert (chances <= 1).all()


@pytest.mark.parametrize("shape", [(3, 17, 24), (1, 2, 2), (3, 28, 28)])
def test_all_at_once_gives_the_same_pixels_on_images_of_any_shape(shape):
    draw = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (100, *shape), dtype=torch.uint8, generator=draw)
    images[::3] = images[::3] // 9 * 9
    policy, sign = torch.arange(25).repeat(4), torch.randint(2, (100, 2), generator=draw)
    drawn = torch.rand(100, 2, generator=draw) / 2
    before = images.clone()
    found = apply_at_once(images, policy, drawn, sign)
    assert torch.equal(found, apply_policies(images, policy, drawn, sign))
    assert torch.equal(images, before)
