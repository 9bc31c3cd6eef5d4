"""Laws of a split of features: rows of its images, one copy of several drawn by the generator."""

import pytest
import torch

from tests.training.few_digits import few_digits
from vmf_embeddings.training.feature_split import FeatureSplit

IMAGES = few_digits().split("train")
N = len(IMAGES)


def copies(n):
    """Features [n, N, 2] that state their copy and their image."""
    return torch.stack(torch.meshgrid(torch.arange(n), torch.arange(N), indexing="ij"), -1).float()


def drawn(split, seed, indices=None):
    indices = torch.arange(N) if indices is None else indices
    return split.batch(indices, generator=torch.Generator().manual_seed(seed))["examples"]


def test_a_batch_holds_features_and_labels_of_its_images():
    split = FeatureSplit(IMAGES, copies(1))
    indices = torch.tensor([5, 0, 5])
    batch = split.batch(indices)
    assert torch.equal(batch["examples"][:, 1], indices.float())
    assert torch.equal(batch["ids"], IMAGES.labels[indices])
    assert split.identity == IMAGES.identity and split.in_memory
    assert torch.equal(split.example(3), torch.tensor([0.0, 3.0]))


def test_every_item_is_one_of_its_copies_by_the_seed():
    split = FeatureSplit(IMAGES, copies(3))
    one, again, other = (drawn(split, seed) for seed in (1, 1, 2))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(one[:, 1], torch.arange(N).float())
    assert set(one[:, 0].tolist()) == {0.0, 1.0, 2.0}


def test_views_of_an_image_are_drawn_apart():
    split = FeatureSplit(IMAGES.with_views(2), copies(3))
    examples = drawn(split, 1)
    assert examples.shape == (N, 2, 2)
    assert torch.equal(examples[:, 0, 1], examples[:, 1, 1])
    assert not torch.equal(examples[:, 0, 0], examples[:, 1, 0])


def test_features_of_other_images_are_refused():
    with pytest.raises(ValueError, match="as many rows as images"):
        FeatureSplit(IMAGES, torch.zeros(1, N - 1, 2))
