"""Mixing two halves of a batch: laws of lambda, box and labels, and a slow loop."""

import math

import pytest
import torch

from tests.methods.laws import normal
from vmf_embeddings.methods.mixing import (
    Box,
    blend,
    box_around,
    draw_box,
    draw_lambda,
    mix_views,
    mixed_labels,
    paste,
)

C = 4
LABELS = torch.tensor([0, 1, 2, 1, 1, 3])
EXAMPLES = normal(6, 2, 3, 4, 5).float()


def mixed(adjust_lambda=False, seed=0, beta=1.0):
    """The two mixtures, and the lambda and box that they must have been made with."""
    torch.manual_seed(seed)
    mixtures = mix_views(EXAMPLES, LABELS, C, beta, adjust_lambda=adjust_lambda)
    torch.manual_seed(seed)
    share = draw_lambda(beta)
    return *mixtures, share, draw_box(4, 5, share)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("adjust_lambda", (True, False))
def test_mixtures_equal_a_slow_loop(seed, adjust_lambda):
    whole, local, share, box = mixed(adjust_lambda, seed)
    outside = sum(
        not (box.top <= y < box.bottom and box.left <= x < box.right)
        for y in range(4)
        for x in range(5)
    )
    left = outside / 20 if adjust_lambda else share
    for b in range(3):
        wanted_whole, wanted_local = torch.zeros(C), torch.zeros(C)
        for classes, kept in ((LABELS[b], share), (LABELS[b + 3], 1 - share)):
            wanted_whole[classes] += kept
        for classes, kept in ((LABELS[b], left), (LABELS[b + 3], 1 - left)):
            wanted_local[classes] += kept
        torch.testing.assert_close(whole.labels[b], wanted_whole)
        torch.testing.assert_close(local.labels[b], wanted_local)
        for y in range(4):
            for x in range(5):
                one, other = EXAMPLES[b, :, :, y, x], EXAMPLES[b + 3, :, :, y, x]
                torch.testing.assert_close(
                    whole.images[b, :, y, x], share * one[0] + (1 - share) * other[0]
                )
                inside = box.top <= y < box.bottom and box.left <= x < box.right
                assert torch.equal(local.images[b, :, y, x], (other if inside else one)[1])


def test_labels_sum_to_one_and_both_views_share_lambda():
    whole, local, *_ = mixed()
    torch.testing.assert_close(whole.labels.sum(1), torch.ones(3))
    assert torch.equal(whole.labels, local.labels)


def test_mixing_leaves_the_batch_as_it_is():
    before = EXAMPLES.clone()
    mixed()
    assert torch.equal(EXAMPLES, before)


def test_the_seed_of_torch_decides_what_is_mixed():
    assert torch.equal(mixed()[0].images, mixed()[0].images)
    assert not torch.equal(mixed()[0].images, mixed(seed=1)[0].images)


def test_lambda_has_the_mean_and_the_variance_of_its_distribution():
    torch.manual_seed(0)
    for beta in (0.5, 1.0, 4.0):
        draws = torch.tensor([draw_lambda(beta) for _ in range(1500)])
        variance = 1 / (4 * (2 * beta + 1))
        assert (draws.mean() - 0.5).abs() < 5 * (variance / 1500) ** 0.5
        assert (draws.var() / variance - 1).abs() < 0.2  # 5 standard errors at least
        assert ((draws >= 0) & (draws <= 1)).all()


@pytest.mark.parametrize("share", (0.0, 0.1, 0.36, 0.75, 0.97, 1.0))
def test_a_box_in_the_middle_has_the_sides_of_the_paper(share):
    box = box_around(32, 16, 64, 32, share)
    assert box.bottom - box.top == math.ceil(64 * math.sqrt(1 - share))
    assert box.right - box.left == math.ceil(32 * math.sqrt(1 - share))


def test_a_box_is_clipped_at_the_border():
    assert box_around(0, 31, 32, 32, 0.75) == Box(0, 8, 23, 32)


def test_the_centre_of_a_box_is_uniform():
    torch.manual_seed(0)
    boxes = [draw_box(6, 4, 1 - 1e-9) for _ in range(6000)]  # one pixel
    assert all(box.bottom - box.top == box.right - box.left == 1 for box in boxes)
    hits = torch.bincount(torch.tensor([4 * box.top + box.left for box in boxes]), minlength=24)
    assert ((hits - 250).abs() < 5 * 250**0.5).all()


def test_clipping_leaves_more_than_lambda_on_small_pictures():
    torch.manual_seed(0)
    shares = [draw_lambda(1.0) for _ in range(1500)]
    gaps = [1 - draw_box(32, 32, share).area_fraction(32, 32) - share for share in shares]
    assert abs(sum(gaps) / 1500 - 0.168) < 0.02


def test_a_share_of_one_keeps_the_first_and_zero_the_second():
    one, other = EXAMPLES[:3, 0], EXAMPLES[3:, 0]
    assert torch.equal(blend(one, other, 1.0), one)
    assert torch.equal(blend(one, other, 0.0), other)
    assert torch.equal(paste(one, other, box_around(2, 3, 4, 5, 1.0)), one)
    assert torch.equal(paste(one, other, Box(0, 4, 0, 5)), other)
    assert torch.equal(mixed_labels(LABELS[:3], LABELS[3:], 1.0, C).argmax(1), LABELS[:3])


@pytest.mark.parametrize(
    ("examples", "words"),
    (
        (EXAMPLES[:, 0], r"dataset.params.views=2"),
        (EXAMPLES[:, :, 0, 0], r"two views"),
        (EXAMPLES[:5], r"sampler=paired"),
    ),
)
def test_a_batch_of_another_form_is_refused_with_the_words_to_type(examples, words):
    with pytest.raises(ValueError, match=words):
        mix_views(examples, LABELS[: len(examples)], C, 1.0, adjust_lambda=False)
