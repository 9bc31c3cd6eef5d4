"""Embedding files are found where runs put them, and what is missing is named with its remedy."""

import pytest

from vmf_embeddings.evaluation.folders import dataset_of, find_embedding_files, split_of


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_every_subfolder_with_a_file_of_the_split_counts_once(tmp_path):
    wanted = [touch(tmp_path / f"seed{n}" / "toy_test.npz") for n in range(3)]
    touch(tmp_path / "seed0" / "toy_valid.npz")
    touch(tmp_path / "seed0" / ".hydra_train" / "toy_test.npz")
    touch(tmp_path / "seed0" / ".toy_test.npz.77.tmp")
    found = find_embedding_files([tmp_path, tmp_path / "seed1"], "test")
    assert list(found) == wanted
    assert set(found.values()) == {tmp_path}
    assert list(find_embedding_files([tmp_path], "valid")) == [tmp_path / "seed0" / "toy_valid.npz"]


def test_second_stages_below_a_run_are_no_replications_of_it(tmp_path):
    runs = [touch(tmp_path / f"seed{n}" / "toy_test.npz") for n in range(2)]
    stage = touch(tmp_path / "seed0" / "crt" / "toy_test.npz")
    assert list(find_embedding_files([tmp_path], "test")) == runs
    assert list(find_embedding_files([stage.parent], "test")) == [stage]


def test_a_file_may_be_named_directly_whatever_it_is_called(tmp_path):
    file = touch(tmp_path / "anything.npz")
    assert list(find_embedding_files([file], "test")) == [file]


def test_nothing_found_names_the_pattern_and_the_command(tmp_path):
    touch(tmp_path / "toy_valid.npz")
    with pytest.raises(FileNotFoundError) as caught:
        find_embedding_files([tmp_path], "test")
    message = str(caught.value)
    assert f"{tmp_path}/*_test.npz" in message
    assert f"python -m vmf_embeddings.main mode=get_embeddings run={tmp_path}" in message
    assert "toy_valid.npz" in message
    with pytest.raises(FileNotFoundError, match="there is no"):
        find_embedding_files([tmp_path / "typo"], "test")


def test_names_of_files_say_data_set_and_split(tmp_path):
    assert dataset_of(tmp_path / "my_data_test.npz") == "my_data"
    assert split_of(tmp_path / "my_data_test.npz") == "test"
