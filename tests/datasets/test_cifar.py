"""CIFAR from binary files that the test writes, and never from unverified pickles."""

import os
import pickle

import numpy as np
import pytest
import torch

from vmf_embeddings.datasets.cifar import Cifar10, Cifar100


def write_binary(root, kind, n=100):
    rng = np.random.default_rng(0)
    folder = root / kind.binary_folder
    folder.mkdir()
    images, labels = [], []
    for part in kind.binary_files.values():
        for name in part:
            labels.append(np.arange(n) % kind.n_known_classes)
            images.append(rng.integers(0, 256, (n, 3072)))
            coarse = [labels[-1] // 5] * (kind.n_label_bytes - 1)
            rows = np.column_stack([*coarse, labels[-1], images[-1]]).astype(np.uint8)
            (folder / name).write_bytes(rows.tobytes())
    return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels)


def cifar(root, kind=Cifar10):
    return kind(root, download=False, margin_warmup_epochs=60)


@pytest.mark.parametrize(("kind", "n"), [(Cifar10, 100), (Cifar100, 1000)])
def test_binary_files_become_stratified_splits(tmp_path, kind, n):
    images, labels = write_binary(tmp_path, kind, n)
    data = cifar(tmp_path, kind)
    data.check()
    train, valid, test = (data.split(name) for name in ("train", "valid", "test"))
    assert len(train) + len(valid) == len(labels) - n
    assert len(valid) == round(0.15 * (len(labels) - n))
    assert train.n_classes == valid.n_classes == kind.n_known_classes
    assert torch.equal(test.images, torch.from_numpy(images[-n:]).to(torch.uint8))
    assert test.labels.tolist() == labels[-n:].tolist()


@pytest.mark.parametrize("kind", [Cifar10, Cifar100])
def test_evaluation_is_scaled_and_normalised_as_torchvision_does(tmp_path, kind):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision.transforms import functional

    write_binary(tmp_path, kind, 1000)
    split = cifar(tmp_path, kind).split("test")
    expected = functional.normalize(split.images[4].float() / 255, kind.mean, kind.std)
    # One multiplication and addition instead of two divisions: a few units in the last place.
    torch.testing.assert_close(split[4]["examples"], expected, rtol=1e-6, atol=2e-6)


def test_training_images_have_an_occluded_square_of_the_mean_colour(tmp_path):
    write_binary(tmp_path, Cifar10)
    split = cifar(tmp_path).split("train", augment=True)
    examples = split.batch(torch.arange(50), torch.Generator().manual_seed(0))["examples"]
    assert ((examples == 0).all(1).sum((1, 2)) == 64).all()
    plain = cifar(tmp_path).split("train")
    assert not (plain.batch(torch.arange(50))["examples"] == 0).any()


def test_augmented_pixels_come_from_the_image(tmp_path):
    write_binary(tmp_path, Cifar10)
    data = cifar(tmp_path)
    plain = data.split("train")[0]["examples"]
    moved = data.split("train", augment=True)[0]["examples"]
    kept = (moved != 0).all(0)
    assert torch.isin(moved[0][kept], plain[0]).all()
    assert not torch.equal(moved, plain)


def test_batches_are_reproducible_and_independent_of_the_global_generator(tmp_path):
    write_binary(tmp_path, Cifar10)
    split = cifar(tmp_path).split("train", augment=True)
    one = split.batch(torch.arange(9), torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    two = split.batch(torch.arange(9), torch.Generator().manual_seed(3))
    assert torch.equal(one["examples"], two["examples"])


def test_images_are_offered_as_they_are(tmp_path):
    write_binary(tmp_path, Cifar10)
    split = cifar(tmp_path).split("test")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (Cifar10.mean, Cifar10.std))
    seen = split[5]["examples"] * std + mean
    assert torch.allclose(seen, split.raw_images[5] / 255, atol=1e-6)


def test_class_names_are_read(tmp_path):
    write_binary(tmp_path, Cifar10)
    names = [f"thing{i}" for i in range(10)]
    path = tmp_path / Cifar10.binary_folder / "batches.meta.txt"
    path.write_text("\n".join([*names, "", ""]))
    assert cifar(tmp_path).split("test").class_names == names


def test_cut_files_are_named(tmp_path):
    write_binary(tmp_path, Cifar10)
    path = tmp_path / Cifar10.binary_folder / "data_batch_3.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{path} has .* multiple of 3073"):
        cifar(tmp_path).split("train")


def test_classes_out_of_range_are_refused(tmp_path):
    write_binary(tmp_path, Cifar10)
    path = tmp_path / Cifar10.binary_folder / "test_batch.bin"
    path.write_bytes(bytes([77]) + path.read_bytes()[1:])
    with pytest.raises(ValueError, match=r"class 77, expected 0\.\.9"):
        cifar(tmp_path).split("test")


def test_missing_data_are_named_with_what_to_type(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        cifar(tmp_path).check()
    for part in (str(tmp_path), "cifar-10-batches-py", "dataset=cifar10 dataset.params.download"):
        assert part in str(caught.value)


class Attack:
    def __reduce__(self):
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("download", [False, True])
def test_pickles_that_differ_from_the_published_ones_are_never_opened(
    tmp_path, monkeypatch, download
):
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "https_proxy"):  # nothing listens there: no network
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        (folder / name).write_bytes(pickle.dumps(Attack()))
    data = Cifar10(tmp_path, download=download, margin_warmup_epochs=0)
    with pytest.raises(FileNotFoundError, match="differ from the published ones") as caught:
        data.split("train")
    advised = "download=true" in str(caught.value)
    assert advised is not download  # who has just tried it is not told to try it
    assert not (tmp_path / "pwned").exists()
