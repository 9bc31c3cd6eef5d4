"""Names of one image file are recognised by their text alone."""

import numpy as np
import torch

from vmf_embeddings.search.same_image import rows_of_same_image, same_image


def test_other_spellings_of_a_path_are_the_same_image():
    names = ["a/b.png", "./a/b.png", "a//b.png", "a/c/../b.png", "a/./b.png", "a/B.png", "/a/b.png"]
    images = same_image([*names, "//a/b.png"])
    assert images.tolist() == [0, 0, 0, 0, 0, 5, 6, 6]
    assert torch.equal(same_image(np.array(names)), images[:-1])


def test_rows_without_a_name_are_images_of_their_own():
    assert same_image(["", "", ""]) is None
    assert same_image(None) is None
    assert same_image(["", "x", "", "x"]).tolist() == [0, 1, 2, 1]


def test_every_gallery_row_of_a_query_s_image_is_found():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randint(0, 9, (n,), generator=generator) for n in (20, 30))
    for value, line in zip(left, rows_of_same_image(left, right), strict=True):
        assert line[line >= 0].tolist() == (right == value).nonzero().squeeze(1).tolist()
