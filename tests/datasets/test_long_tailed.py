"""A closed set with its training split thinned, over digits, CIFAR files and image files."""

import numpy as np
import pytest
import torch

from tests.datasets.images import draw
from tests.datasets.test_cifar import write_binary
from tests.datasets.test_mnist import REAL, write_mnist
from vmf_embeddings import catalogue
from vmf_embeddings.datasets.cifar import Cifar10
from vmf_embeddings.datasets.digits import Digits, DigitsOpen
from vmf_embeddings.datasets.folder import Folder
from vmf_embeddings.datasets.long_tailed import LongTailed
from vmf_embeddings.datasets.long_tailed_sets import (
    GLMC_CIFAR10,
    LDAM,
    Cifar10LT,
    Cifar100LT,
    DigitsLT,
    MnistLT,
)

KNOBS = {
    "profile": "exp",
    "imbalance_factor": 20,
    "subset": "ldam",
    "subset_seed": 0,
    "validation": "own",
    "views": 1,
    "margin_warmup_epochs": 0,
}


def thinned(of=None, **changes):
    of = Digits(margin_warmup_epochs=0, views=1) if of is None else of
    return LongTailed(of, **{"n_max": None, "balanced_test": False} | KNOBS | changes)


def digits_lt(**changes):
    return DigitsLT(**{"augment": "none", "balanced_test": True} | KNOBS | changes)


def cifar_lt(root, kind=Cifar10LT, **changes):
    params = {"download": False, "augment": "none", "normalisation": "ldam"} | KNOBS
    return kind(root, **params | changes)


@pytest.fixture(scope="module")
def digits():
    data = thinned()
    data.check()
    return data


def test_only_training_is_thinned_and_by_the_profile(digits):
    whole = Digits(margin_warmup_epochs=0, views=1)
    n_max = int(whole.split("train").class_counts.min())
    expected = [int(n_max * 0.05 ** (k / 9)) for k in range(10)]
    assert digits.split("train").class_counts.tolist() == expected
    for name in ("valid", "test"):
        assert digits.split(name).identity == whole.split(name).identity


def test_a_part_shows_the_images_and_classes_of_the_whole(digits):
    train, whole = digits.split("train"), Digits(margin_warmup_epochs=0, views=1).split("train")
    batch = train.batch(torch.arange(len(train)))
    expected = whole.batch(train.positions)
    assert torch.equal(batch["examples"], expected["examples"])
    assert torch.equal(batch["ids"], expected["ids"])
    assert torch.equal(batch["ids"], train.labels)
    assert torch.equal(train[7]["examples"], batch["examples"][7])
    assert train[7]["ids"] == int(train.labels[7])
    assert train.class_names == whole.class_names
    assert len(train.positions.unique()) == len(train) == int(train.class_counts.sum())


def test_two_objects_hold_the_same_images_whatever_the_runs_seed(digits):
    np.random.seed(7)
    torch.manual_seed(7)
    again = thinned().split("train")
    assert again.identity == digits.split("train").identity
    assert torch.equal(again.positions, digits.split("train").positions)
    assert digits.split("train", augment=True).identity == again.identity


def test_the_identity_is_the_same_in_every_process(digits):
    """A literal: what any other process must arrive at to go on with a run or to teach one."""
    assert digits.split("train").identity.startswith("00f395e64b1ea2f6")


@pytest.mark.parametrize(
    "change",
    [{"imbalance_factor": 10}, {"subset": "glmc"}, {"profile": "step"}, {"validation": "none"}],
)
def test_other_images_have_another_identity(digits, change):
    assert thinned(**change).split("train").identity != digits.split("train").identity


def test_training_images_do_not_depend_on_whether_the_others_validate():
    unchosen = thinned(validation="unchosen", imbalance_factor=5)
    none = thinned(validation="none", imbalance_factor=5)
    assert unchosen.split("train").identity == none.split("train").identity


def test_seeds_of_one_s_own_choose_other_images():
    seeded = [thinned(subset="seeded", subset_seed=s).split("train").identity for s in (0, 1, 2)]
    assert len(set(seeded)) == 3
    assert seeded[0] == thinned(subset="ldam").split("train").identity


def test_profile_none_keeps_every_training_image():
    train, whole = thinned(profile="none").split("train"), Digits(margin_warmup_epochs=0, views=1)
    assert train.class_counts.tolist() == whole.split("train").class_counts.tolist()


def test_a_larger_first_class_may_be_asked_for_and_classes_give_what_they_have(digits):
    counts = thinned(n_max=10_000, imbalance_factor=100).split("train").class_counts
    whole = Digits(margin_warmup_epochs=0, views=1).split("train").class_counts
    wanted = torch.tensor([int(10_000 * 0.01 ** (k / 9)) for k in range(10)])
    assert torch.equal(counts, torch.minimum(whole, wanted))


def test_unchosen_images_validate_and_are_trained_on_by_nobody():
    data = thinned(validation="unchosen")
    data.check()
    train, valid = data.split("train"), data.split("valid")
    pool = data.of.pool()
    assert not set(train.positions.tolist()) & set(valid.positions.tolist())
    left = pool.class_counts - train.class_counts
    assert torch.equal(
        valid.class_counts, torch.minimum(left, (0.15 * pool.class_counts).round().long())
    )
    assert valid.n_classes == train.n_classes


def test_a_balanced_test_set_has_equally_many_images_of_every_class():
    for name in ("valid", "test"):
        split, whole = digits_lt().split(name), Digits(margin_warmup_epochs=0, views=1).split(name)
        assert set(split.class_counts.tolist()) == {int(whole.class_counts.min())}
        assert (split.positions.diff() > 0).all()
    assert digits_lt().split("train").identity == thinned().split("train").identity


def test_digits_lt_has_many_medium_and_few_shot_classes():
    counts = digits_lt().split("train").class_counts.tolist()
    assert counts == [118, 84, 60, 43, 31, 22, 16, 11, 8, 5]


def mnist_lt(root, **changes):
    params = {"download": False, "augment": "none", "balanced_test": True} | KNOBS
    return MnistLT(root, **params | changes)


def test_mnist_holds_validation_out_before_it_is_thinned(tmp_path):
    write_mnist(tmp_path, n_train=400)
    data = mnist_lt(tmp_path, imbalance_factor=17)
    data.check()
    assert data.split("train").class_counts.tolist() == [
        int(34 * 17 ** (-k / 9)) for k in range(10)
    ]
    assert data.split("valid").class_counts.tolist() == [6] * 10
    assert data.split("test").class_counts.tolist() == [5] * 10
    with pytest.raises(FileNotFoundError, match="dataset=mnist_lt dataset.params.dataset_path"):
        mnist_lt(tmp_path / "nowhere").check()


@pytest.mark.skipif(not REAL.is_dir(), reason="needs 10,000 real digits")
def test_real_digits_at_imbalance_100():
    data = mnist_lt(REAL, imbalance_factor=100)
    counts = data.split("train").class_counts.tolist()
    assert counts == [620, 371, 222, 133, 80, 48, 28, 17, 10, 6]
    assert data.split("valid").class_counts.tolist() == [109] * 10
    assert data.split("test").class_counts.tolist() == [134] * 10


def test_cifar_is_thinned_over_all_of_its_official_training_part(tmp_path):
    _, labels = write_binary(tmp_path, Cifar10)
    data = cifar_lt(tmp_path, validation="unchosen", imbalance_factor=10)
    data.check()
    assert data.split("train").class_counts.tolist() == [50, 38, 29, 23, 17, 13, 10, 8, 6, 5]
    assert data.split("valid").class_counts.tolist() == [0, *[8] * 9]
    assert data.split("test").class_counts.tolist() == [10] * 10
    np.testing.assert_array_equal(
        data.split("train").labels.numpy(), labels[data.split("train").positions.numpy()]
    )


@pytest.mark.parametrize("profile", ["exp", "step", "none"])
def test_every_class_validates_also_those_that_would_be_trained_on_as_a_whole(tmp_path, profile):
    write_binary(tmp_path, Cifar10)
    knobs = {"imbalance_factor": 10, "profile": profile}
    data = cifar_lt(tmp_path, validation="every_class", **knobs)
    published = cifar_lt(tmp_path, validation="none", **knobs).split("train").class_counts
    data.check()
    train, valid = data.split("train"), data.split("valid")
    assert (valid.class_counts > 0).all()
    whole = published == 50
    assert torch.equal(train.class_counts, published - 2 * whole.long())  # 5% of 50
    assert (valid.class_counts[whole] == 2).all() and (valid.class_counts[~whole] == 8).all()
    assert not set(train.positions.tolist()) & set(valid.positions.tolist())


def test_a_class_without_validation_images_is_named_in_the_log(tmp_path, caplog):
    write_binary(tmp_path, Cifar10)
    cifar_lt(tmp_path, validation="unchosen", imbalance_factor=10).check()
    assert "1 classes, all of whose images are trained on" in caplog.text


@pytest.mark.parametrize("name", ["cifar10_lt", "cifar100_lt"])
def test_cifar_validates_every_class_by_default(name):
    assert catalogue.option("dataset", name)["params"]["validation"] == "every_class"


def test_step_profile_leaves_no_class_of_the_head_to_validate(tmp_path):
    write_binary(tmp_path, Cifar10)
    with pytest.raises(ValueError, match="no images of 5 of 10 classes.*validation=own"):
        cifar_lt(tmp_path, validation="unchosen", profile="step").check()
    cifar_lt(tmp_path, validation="own", profile="step").check()
    none = cifar_lt(tmp_path, validation="none", profile="step")
    none.check()
    assert none.split("train").class_counts.tolist() == [50] * 5 + [2] * 5
    with pytest.raises(ValueError, match=r"no validation split .* mode\.select=test"):
        none.split("valid")


@pytest.mark.parametrize(
    ("kind", "school", "statistics"),
    [
        (Cifar10LT, "ldam", LDAM),
        (Cifar10LT, "glmc", GLMC_CIFAR10),
        (Cifar100LT, "ldam", LDAM),
        (Cifar100LT, "glmc", LDAM),
    ],
)
def test_images_are_normalised_as_either_school_does(tmp_path, kind, school, statistics):
    write_binary(tmp_path, kind.source, 100)
    split = cifar_lt(tmp_path, kind, normalisation=school).split("test")
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in statistics)
    expected = (split.raw_images[3] / 255 - mean) / deviation
    torch.testing.assert_close(split[3]["examples"], expected, rtol=1e-6, atol=2e-6)


def test_balms_blackens_a_square_before_normalising(tmp_path):
    write_binary(tmp_path, Cifar10)
    split = cifar_lt(tmp_path, augment="balms", imbalance_factor=1).split("train", augment=True)
    examples = split.batch(torch.arange(60), torch.Generator().manual_seed(0))["examples"]
    black = -torch.tensor(LDAM[0]) / torch.tensor(LDAM[1])
    hidden = (examples - black.view(1, 3, 1, 1)).abs().amax(1) < 1e-5
    assert (hidden.sum((1, 2)) >= 64).all()  # a corner of the square at least
    assert hidden.float().mean() < 0.6


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    root = tmp_path_factory.mktemp("images")
    for label in range(3):
        for i in range(14):
            draw(root / f"kind {label}" / f"{i:02d}.jpg", seed=i, label=label)
    return root


def folder(root, **changes):
    params = {"layout": "auto", "open_set": False, "valid_share": 0.2, "test_share": 0.3}
    params |= {"image_size": 16, "background": "white", "max_pixels": None, "on_error": "refuse"}
    params |= {"augment": "inat", "mean": [0.0] * 3, "std": [1.0] * 3, "margin_warmup_epochs": 0}
    return Folder(root, **params | changes)


def test_image_files_are_thinned_alike(images):
    data = thinned({"name": "folder", "params": folder(images)}, imbalance_factor=4)
    data.check()
    train, whole = data.split("train"), folder(images).split("train")
    n_max = int(whole.class_counts.min())
    assert train.class_counts.tolist() == [n_max, n_max // 2, n_max // 4]
    assert train.paths == [whole.paths[i] for i in train.positions.tolist()]
    assert torch.equal(train[2]["examples"], whole[int(train.positions[2])]["examples"])
    assert data.name == "folder_lt"


def test_two_views_of_a_file_differ_in_their_transform_alone(images):
    data = thinned(folder(images), views=2, imbalance_factor=1)
    assert data.split("train", augment=True)[1]["examples"].shape == (2, 3, 16, 16)
    one, other = data.split("train", augment=True)[1]["examples"]
    assert not torch.equal(one, other)
    assert data.split("train")[1]["examples"].shape == (3, 16, 16)
    assert data.split("valid")[0]["examples"].shape == (3, 16, 16)


def test_two_views_of_an_array_are_two_draws_of_its_augmentation(tmp_path):
    write_binary(tmp_path, Cifar10)
    data = cifar_lt(tmp_path, views=2, augment="crop_flip", imbalance_factor=1)
    split, single = (
        kind.split("train", augment=True)
        for kind in (data, cifar_lt(tmp_path, augment="crop_flip", imbalance_factor=1))
    )
    assert split.identity == single.identity
    indices, draw_ = torch.arange(20), torch.Generator().manual_seed(3)
    both = split.batch(indices, torch.Generator().manual_seed(3))
    assert both["examples"].shape == (20, 2, 3, 32, 32)
    assert both["ids"].shape == (20,)
    for view in range(2):
        expected = single.batch(indices, draw_)["examples"]
        assert torch.equal(both["examples"][:, view], expected)
    assert not torch.equal(both["examples"][:, 0], both["examples"][:, 1])
    assert split[4]["examples"].shape == (2, 3, 32, 32)


def test_views_go_along_to_a_device(tmp_path):
    write_binary(tmp_path, Cifar10)
    split = cifar_lt(tmp_path, views=2, imbalance_factor=1).split("train", augment=True)
    moved = split.to(torch.device("cpu"))
    assert moved.batch(torch.arange(3))["examples"].shape == (3, 2, 3, 32, 32)
    assert moved.identity == split.identity
    assert moved.n_bytes == split.n_bytes > 0


def test_open_sets_are_refused():
    with pytest.raises(ValueError, match="digits_open is open"):
        thinned(DigitsOpen(margin_warmup_epochs=0)).check()


def test_tails_without_images_are_refused_with_what_to_type():
    with pytest.raises(ValueError, match="leaves 1 of 10 classes .*imbalance_factor below 118"):
        thinned(imbalance_factor=119).check()
    thinned(imbalance_factor=117).check()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": "exponential"}, "profile is one of exp, step, none"),
        ({"validation": "test"}, "validation is one of own, every_class, unchosen, none"),
        ({"subset": "first"}, "subset is one of ldam, glmc, seeded"),
        ({"imbalance_factor": 0.01}, "expected imbalance_factor >= 1"),
        ({"views": 0}, "views must be a whole number >= 1"),
        ({"views": 1.5}, "views must be a whole number >= 1"),
    ],
)
def test_wrong_values_are_named(change, said):
    with pytest.raises(ValueError, match=said):
        thinned(**change)


def test_unknown_augmentations_and_schools_are_named(tmp_path):
    with pytest.raises(ValueError, match="augment=flip. Known: none, shift, crop_flip, balms"):
        digits_lt(augment="flip")
    with pytest.raises(ValueError, match="one of ldam, glmc; got 'bbn'"):
        cifar_lt(tmp_path, normalisation="bbn")


def test_missing_files_are_advised_under_the_name_that_was_typed(tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset=cifar10_lt dataset.params.dataset_path"):
        cifar_lt(tmp_path).check()
