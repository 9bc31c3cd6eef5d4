"""Laws of cached features: a head on them learns what it learns through the frozen net."""

import json
import logging
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from tests.training.few_digits import FewDigits, trained
from vmf_embeddings.datasets.augment import Augmentation
from vmf_embeddings.training import checkpoint, feature_cache
from vmf_embeddings.untrusted.refused import Refused

FROZEN = ["arch.params.frozen=true", "mode.epochs=2"]
METHODS = {
    "normalized_sce": [],
    "vmf_softmax": [],
    "classifier": ["feature_scaling=logfreq", "loss=balanced_softmax"],
    "dml": [
        "criterion=s2sd",
        "criterion.params.target_dims=[16]",
        "criterion.params.feature_weight=5",
        "criterion.params.delay=1",
    ],
    "nir": [],
    "pml": [],
}


def weights_after(folder, *overrides, cache="memory", views=1):
    trained(
        folder,
        *FROZEN,
        f"trainer.feature_cache={cache}",
        f"trainer.feature_cache_dir={folder.parent / 'cache'}",
        *overrides,
        views=views,
    )
    return checkpoint.load(folder / "last.pt")["method_state_dict"]


def assert_same(one, other, tolerance=0.0):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_a_head_on_cached_features_learns_as_through_the_net(tmp_path, method):
    overrides = [f"method={method}", *METHODS[method]]
    cached = weights_after(tmp_path / "cached", *overrides)
    through = weights_after(tmp_path / "through", *overrides, cache="off")
    assert_same(cached, through, 1e-6)


def test_other_splits_and_samplers_by_embeddings_read_features_too(tmp_path):
    words = ["method=normalized_sce", "mode.evaluate_on=[train,valid,test]"]
    words += ["sampler=d2_coreset", "sampler.batch_size=32"]
    rows = {}
    for cache in ("memory", "off"):
        weights_after(tmp_path / cache, *words, cache=cache)
        lines = (tmp_path / cache / "metrics.jsonl").read_text().splitlines()
        rows[cache] = [json.loads(line) for line in lines]
    for one, other in zip(rows["memory"], rows["off"], strict=True):
        scores = [key for key in one if "/" in key or key.endswith(("_metric", "_loss"))]
        assert len(scores) > 6
        assert [one[key] for key in scores] == pytest.approx([other[key] for key in scores], 1e-5)


@pytest.mark.parametrize("cache", ("memory", "off"))
def test_a_frozen_backbone_keeps_every_bit_and_the_projection_learns(tmp_path, cache):
    untrained = weights_after(tmp_path / "a", "method=classifier", "mode.epochs=0", cache=cache)
    learned = weights_after(tmp_path / "b", "method=classifier", cache=cache)
    for name, tensor in learned.items():
        same = torch.equal(tensor, untrained[name])
        assert same == (name.startswith("arch.") and "projection" not in name), name


def test_a_file_of_features_gives_the_same_weights_and_is_found_again(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    in_memory = weights_after(tmp_path / "a", "method=classifier")
    on_disk = weights_after(tmp_path / "b", "method=classifier", cache="disk")
    files = sorted((tmp_path / "cache").glob("*.npy"))
    assert len(files) == 2  # train and valid
    assert "not computed again" not in caplog.text
    times = [file.stat().st_mtime_ns for file in files]
    weights_after(tmp_path / "c", "method=dml", "mode.learning_rate=0.01", cache="auto")
    assert caplog.text.count("not computed again") == 2
    assert [file.stat().st_mtime_ns for file in files] == times
    assert_same(in_memory, on_disk)


def test_features_that_do_not_fit_into_memory_go_into_a_file(tmp_path, monkeypatch):
    in_memory = weights_after(tmp_path / "a", "method=classifier", cache="auto")
    assert not (tmp_path / "cache").exists()
    monkeypatch.setattr(feature_cache, "free_memory", lambda: 4 * 40_000)
    in_file = weights_after(tmp_path / "b", "method=classifier", cache="auto")
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1  # 152 x 120 floats; valid fits
    assert_same(in_memory, in_file)


@pytest.mark.parametrize("harm", ("cut", "changed", "no description", "other content", "zip"))
def test_a_damaged_file_is_computed_again(tmp_path, harm):
    good = weights_after(tmp_path / "a", "method=classifier", cache="disk")
    for file in (tmp_path / "cache").glob("*.npy"):
        content = bytearray(file.read_bytes())
        if harm == "cut":
            file.write_bytes(content[:-100])
        elif harm == "changed":
            content[-50] ^= 0xFF
            file.write_bytes(content)
        elif harm == "no description":
            file.with_suffix(".json").unlink()
        elif harm == "zip":
            with file.open("wb") as stream:  # an archive under the name of an array
                np.savez(stream, a=np.zeros(3))
        else:
            np.save(file, np.zeros(3))
    assert_same(good, weights_after(tmp_path / "b", "method=classifier", cache="disk"))


def test_other_weights_or_images_get_files_of_their_own(tmp_path):
    for number, override in enumerate(("random_seed=1", "random_seed=2", "arch.params.n_digits=1")):
        overrides = ["method=classifier", "mode.epochs=0", override]
        weights_after(tmp_path / str(number), *overrides, cache="disk")
    # the third has the default seed, so other weights again
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 6


def test_augmented_copies_are_drawn_anew_in_every_epoch_and_repeat_with_the_seed(tmp_path):
    views = ["method=classifier", "trainer.feature_views=3"]
    one, again = (weights_after(tmp_path / name, *views) for name in "ab")
    plain = weights_after(tmp_path / "c", "method=classifier")
    assert_same(one, again)
    # digits are not augmented: all copies are equal, whichever is drawn
    assert_same(one, plain, 1e-6)


@pytest.mark.parametrize("views", (0, 3))
def test_a_resumed_training_ends_with_the_same_bits(tmp_path, views):
    overrides = ["method=classifier", f"trainer.feature_views={views}"]
    whole = weights_after(tmp_path / "a", *overrides)
    weights_after(tmp_path / "b", *overrides, "mode.epochs=1")
    assert_same(whole, weights_after(tmp_path / "b", *overrides))


@pytest.mark.parametrize(
    ("overrides", "views", "message"),
    [
        (
            ["method=classifier", "arch.params.frozen=false"],
            1,
            "features change while the backbone learns",
        ),
        (["method=fsgl", "sampler=paired"], 2, "method=fsgl needs the images themselves"),
    ],
)
def test_what_cannot_be_cached_is_refused_when_asked_for(tmp_path, overrides, views, message):
    with pytest.raises(Refused, match=message):
        weights_after(tmp_path / "a", *overrides, cache="memory", views=views)


def test_without_anything_to_learn_training_is_refused_and_extraction_is_not(tmp_path):
    bare = ["method=dml", "criterion=contrastive", "arch.params.projection=none"]
    bare += ["arch.params.embedding_dim=120"]
    with pytest.raises(Refused, match="nothing learns"):
        weights_after(tmp_path / "a", *bare)
    weights_after(tmp_path / "b", *bare, "mode.epochs=0")
    assert (tmp_path / "b" / "model_untrained.pt").exists()


@contextmanager
def shifted_digits():
    """Inside, training digits are shifted at random."""
    FewDigits.augmentation = Augmentation(pad=2, flip=False)
    try:
        yield
    finally:
        del FewDigits.augmentation


def of_process(rank, world, folder):
    """What one of several processes learns from features, and from shifted digits."""
    overrides = ["method=classifier", "sampler.batch_size=31"]
    (folder / "features").mkdir(exist_ok=True)

    def learnt(name, *more, cache):
        return weights_after(folder / "features" / f"{name}_{world}", *more, cache=cache)

    found = {cache: learnt(cache, *overrides, cache=cache) for cache in ("memory", "disk")}
    with shifted_digits():
        found["views"] = learnt("views", *overrides, "trainer.feature_views=3", cache="memory")
        found["shifted"] = learnt("shifted", *overrides, cache="off")
    return found


def test_two_processes_learn_from_features_what_one_learns(of_two_processes, tmp_path):
    alone = of_process(0, 1, tmp_path)
    assert any((alone["views"][key] != alone["memory"][key]).any() for key in alone["views"])
    for found in of_two_processes["test_feature_cache"]:
        for name, weights in found.items():
            assert_same(alone[name], weights, 1e-5)
