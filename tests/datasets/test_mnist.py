"""MNIST and FashionMNIST from IDX files that the test writes."""

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch

from vmf_embeddings.datasets.arrays import stratified_holdout
from vmf_embeddings.datasets.mnist import MNIST, STEMS, FashionMNIST, MNISTOpen, read_idx

REAL = Path(__file__).parents[3] / "shared" / "data" / "mnist10k"


def idx_bytes(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_mnist(root, *, title="MNIST", n_train=200, n_test=50, packed=False):
    rng = np.random.default_rng(0)
    folder = root / title / "raw"
    folder.mkdir(parents=True)
    arrays = {}
    for part, n in (("train", n_train), ("test", n_test)):
        images, labels = rng.integers(0, 256, (n, 28, 28)), np.arange(n) % 10
        arrays[part] = images, labels
        for stem, array in zip(STEMS[part], (images, labels), strict=True):
            data = idx_bytes(array)
            path = folder / (f"{stem}.gz" if packed else stem)
            path.write_bytes(gzip.compress(data) if packed else data)
    return arrays


def mnist(root, kind=MNIST):
    return kind(root, download=False, margin_warmup_epochs=20)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_splits_are_those_of_scikit_learn_on_any_number_of_images(tmp_path, kind, packed):
    arrays = write_mnist(tmp_path, title=kind.title, packed=packed)
    data = mnist(tmp_path, kind)
    data.check()
    images, labels = arrays["train"]
    for name, chosen in zip(("train", "valid"), stratified_holdout(labels, 0.15), strict=True):
        split = data.split(name)
        assert (split.images[:, 0].numpy() == images[chosen]).all()
        assert (split.labels.numpy() == labels[chosen]).all()
        assert split.class_counts.tolist() == [len(chosen) // 10] * 10
    assert (data.split("test").images[:, 0].numpy() == arrays["test"][0]).all()
    assert data.split("test").identity != data.split("train").identity


def test_the_open_set_trains_on_half_the_classes_and_tests_on_all_images_of_the_others(tmp_path):
    arrays = write_mnist(tmp_path)
    images, labels = (np.concatenate(pair) for pair in zip(*arrays.values(), strict=True))
    data = mnist(tmp_path, MNISTOpen)
    test = data.split("test")
    assert test.open_set
    assert (test.images[:, 0].numpy() == images[labels >= 5]).all()
    assert (test.original_labels.numpy() == labels[labels >= 5]).all()
    seen = [data.split(name) for name in ("train", "valid")]
    assert [split.n_classes for split in seen] == [5, 5]
    kept = torch.cat([split.images for split in seen])
    assert sorted(kept.sum((1, 2, 3)).tolist()) == sorted(images[labels < 5].sum((1, 2)).tolist())


def test_the_split_is_the_one_of_2021():
    from sklearn.model_selection import train_test_split

    labels = np.random.default_rng(1).integers(0, 10, 500)
    kept, held_out = train_test_split(
        np.arange(500), test_size=0.15, random_state=1234, stratify=labels
    )
    ours = stratified_holdout(labels, 0.15)
    assert (ours[0] == kept).all()
    assert (ours[1] == held_out).all()


def test_examples_are_the_bytes_divided_by_255(tmp_path):
    images, _ = write_mnist(tmp_path)["test"]
    item = mnist(tmp_path).split("test")[7]
    assert torch.equal(item["examples"][0], torch.from_numpy(images[7]).float() / 255)
    assert item["ids"] == 7


def test_training_examples_are_not_augmented(tmp_path):
    write_mnist(tmp_path)
    data = mnist(tmp_path)
    plain, augmented = (data.split("train", augment=flag) for flag in (False, True))
    assert torch.equal(plain[3]["examples"], augmented[3]["examples"])
    assert plain.identity == augmented.identity


def test_missing_files_are_named_with_what_to_type(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(FileNotFoundError) as caught:
        mnist(tmp_path).check()
    message = str(caught.value)
    assert str(tmp_path / "MNIST" / "raw") in message
    assert "missing: t10k-labels-idx1-ubyte[.gz])" in message
    assert "dataset=mnist dataset.params.dataset_path=PATH" in message
    assert "dataset=mnist dataset.params.download=true" in message


def test_a_failed_download_says_why(tmp_path, monkeypatch):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import datasets

    def no_network(root, download):
        raise RuntimeError("Error downloading\n train-images" + ", and more" * 30)

    monkeypatch.setattr(datasets, "FashionMNIST", no_network)
    data = FashionMNIST(tmp_path, download=True, margin_warmup_epochs=0)
    with pytest.raises(FileNotFoundError, match="failed") as caught:
        data.split("train")
    assert f"(Error downloading train-images{', and more' * 30})" in str(caught.value)
    assert "download=true" not in str(caught.value)


def test_files_that_exist_are_not_downloaded_again(tmp_path, monkeypatch):
    import vmf_embeddings.torchvision_compat  # noqa: F401, I001
    from torchvision import datasets

    write_mnist(tmp_path)
    monkeypatch.setattr(datasets, "MNIST", None)
    assert len(MNIST(tmp_path, download=True, margin_warmup_epochs=0).split("test")) == 50


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an IDX file"),
        (b"<html>404</html>", "not an IDX file"),
        (idx_bytes(np.zeros((4, 28, 28)))[:-1], "cut off"),
    ],
)
def test_damaged_files_are_named(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path}.*{message}"):
        read_idx(path)


def test_a_cut_gzip_file_is_named(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((4, 28, 28))))[:-9])
    with pytest.raises(ValueError, match=f"{path} is not a whole gzip file"):
        read_idx(path)


def test_images_and_labels_that_differ_in_number_are_refused(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / STEMS["test"][1]
    path.write_bytes(idx_bytes(np.zeros(49)))
    with pytest.raises(ValueError, match=r"\(50, 28, 28\).*\(49,\)"):
        mnist(tmp_path).split("test")


@pytest.mark.skipif(not REAL.is_dir(), reason="the real digits are not at hand")
def test_real_digits_are_read_from_their_folder():
    data = mnist(REAL)
    sizes = [len(data.split(name)) for name in ("train", "valid", "test")]
    assert sizes == [7225, 1275, 1500]
    assert data.split("test").n_classes == 10
