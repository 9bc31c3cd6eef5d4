"""Laws of holding out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmf_embeddings.datasets.holdout import hold_out_classes, hold_out_images

labels = st.lists(st.integers(0, 9), min_size=2, max_size=80).map(np.array)
shares = st.floats(0.05, 0.95)


@given(labels, shares)
def test_every_class_gives_the_floor_or_ceiling_of_its_share_and_keeps_one(labels, share):
    try:
        held_out = hold_out_images(labels, share)
    except ValueError:
        # Only where no class can give one, or everything together is owed less than half an image.
        sizes = np.unique(labels, return_counts=True)[1]
        assert share * sizes[sizes > 1].sum() < 0.5 + 1e-9
        return
    for label in np.unique(labels):
        size = (labels == label).sum()
        given_away = held_out[labels == label].sum()
        assert given_away <= min(size - 1, np.ceil(share * size))


def test_the_total_is_right_even_where_classes_have_three_images():
    held_out = hold_out_images(np.repeat(np.arange(1591), 3), 0.15)
    assert held_out.sum() == round(0.15 * 3 * 1591)
    assert held_out.reshape(-1, 3).sum(1).max() == 1


def test_which_image_of_a_class_goes_does_not_hang_on_its_position():
    held_out = hold_out_images(np.repeat(np.arange(3000), 3), 1 / 3).reshape(-1, 3)
    assert held_out.sum(0).min() > 900  # 1000 expected at each position, sd 26


@given(labels, shares)
def test_classes_go_whole_and_some_stay(labels, share):
    if len(np.unique(labels)) < 2:
        with pytest.raises(ValueError, match="whole classes"):
            hold_out_classes(labels, share)
        return
    held_out = hold_out_classes(labels, share)
    gone, kept = set(labels[held_out]), set(labels[~held_out])
    assert gone
    assert kept
    assert not gone & kept


@given(labels, shares)
def test_without_a_draw_the_last_classes_go_and_images_lie_apart(labels, share):
    labels = np.concatenate([labels, [0, 1] * 20])
    held_out = hold_out_classes(labels, share, None)
    assert labels[held_out].min() > labels[~held_out].max()
    images = hold_out_images(labels, share, None)
    for label in np.unique(labels):
        mine = images[labels == label]
        places = np.flatnonzero(mine)
        gaps = np.diff(places)
        assert len(places) < len(mine)
        assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_another_seed_draws_others():
    labels = np.repeat(np.arange(20), 10)
    for hold_out in (hold_out_classes, hold_out_images):
        one, other = hold_out(labels, 0.3, 1), hold_out(labels, 0.3, 2)
        assert one.sum() == other.sum() == 60 and (one != other).any()
