"""How many images and classes are held out, and which."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmf_embeddings.datasets.holdout import hold_out_classes, hold_out_images

labels = st.lists(st.integers(0, 9), min_size=2, max_size=80).map(np.array)
fractions = st.floats(0.05, 0.95)


def assert_floor_or_ceiling_of_each_class(labels, held_out, fraction):
    """Of n images, floor or ceil(fraction n) are held out, and at least one is kept."""
    for label in np.unique(labels):
        size, n_held_out = (labels == label).sum(), held_out[labels == label].sum()
        least, most = np.floor(fraction * size), min(size - 1, np.ceil(fraction * size))
        assert least <= n_held_out <= most


@given(labels, fractions)
def test_every_class_gives_the_floor_or_ceiling_of_its_part_and_keeps_one(labels, fraction):
    try:
        held_out = hold_out_images(labels, fraction)
    except ValueError:
        # Only where no class can give one, or everything together is owed less than half an image.
        sizes = np.unique(labels, return_counts=True)[1]
        assert fraction * sizes[sizes > 1].sum() < 0.5 + 1e-9
        return
    assert held_out.any()
    assert_floor_or_ceiling_of_each_class(labels, held_out, fraction)


def test_the_total_is_right_even_where_classes_have_three_images():
    held_out = hold_out_images(np.repeat(np.arange(1591), 3), 0.15)
    assert held_out.sum() == round(0.15 * 3 * 1591)
    assert held_out.reshape(-1, 3).sum(1).max() == 1


def test_which_image_of_a_class_goes_does_not_depend_on_its_position():
    held_out = hold_out_images(np.repeat(np.arange(3000), 3), 1 / 3).reshape(-1, 3)
    assert held_out.sum(0).min() > 900  # 1000 expected at each position, sd 26


def test_classes_of_one_image_cannot_give_it_and_are_said_to_go_whole():
    with pytest.raises(ValueError, match="each of the 5 classes has a single one.*open_set=true"):
        hold_out_images(np.arange(5), 0.9)


@given(labels, fractions)
def test_classes_go_whole_and_some_stay(labels, fraction):
    if len(np.unique(labels)) < 2:
        with pytest.raises(ValueError, match="whole classes"):
            hold_out_classes(labels, fraction)
        return
    held_out = hold_out_classes(labels, fraction)
    gone, kept = set(labels[held_out]), set(labels[~held_out])
    assert len(gone) == min(max(1, round(fraction * len(gone | kept))), len(gone | kept) - 1)
    assert kept
    assert not gone & kept


@given(labels, fractions)
def test_without_a_draw_the_last_classes_go_and_images_lie_apart(labels, fraction):
    labels = np.concatenate([labels, [0, 1] * 20])
    held_out = hold_out_classes(labels, fraction, None)
    assert labels[held_out].min() > labels[~held_out].max()
    images = hold_out_images(labels, fraction, None)
    assert_floor_or_ceiling_of_each_class(labels, images, fraction)
    for label in np.unique(labels):
        gaps = np.diff(np.flatnonzero(images[labels == label]))
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("hold_out", (hold_out_classes, hold_out_images))
def test_a_seed_draws_the_same_again_and_another_seed_others(hold_out):
    labels = np.repeat(np.arange(20), 10)
    one, other = hold_out(labels, 0.3, 1), hold_out(labels, 0.3, 2)
    assert np.array_equal(one, hold_out(labels, 0.3, 1))
    assert one.sum() == other.sum() == 60 and (one != other).any()
