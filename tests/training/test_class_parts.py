"""Checkpoints whose classes lie in several files are read as one, or refused."""

import os
import pickle

import pytest
import torch

from tests.methods.laws import normal
from vmf_embeddings.training import checkpoint, class_parts
from vmf_embeddings.untrusted.refused import Refused

TOKEN, SIZES = 1234, (2, 3, 2)
WEIGHTS, BIAS, MOMENTUM = normal(7, 3), normal(7, seed=1), normal(7, 3, seed=2)
NAMED = {"token": TOKEN, "count": len(SIZES)}


def whole():
    return {
        "epoch": 3,
        "method_state_dict": {"backbone": torch.ones(2), "weight": WEIGHTS, "bias": BIAS},
        "optimizer_state_dict": {
            "state": {0: {"step": torch.ones(())}, 4: {"step": torch.ones(()), "m": MOMENTUM}},
            "param_groups": [],
        },
    }


def part(rows):
    weights = {"weight": WEIGHTS[rows].clone(), "bias": BIAS[rows].clone()}
    return {"method_state_dict": weights, "optimizer_state": {4: {"m": MOMENTUM[rows].clone()}}}


def in_parts(folder, name="last.pt", token=TOKEN, **changed):
    state = whole()
    del state["method_state_dict"]["weight"], state["method_state_dict"]["bias"]
    del state["optimizer_state_dict"]["state"][4]["m"]
    named = NAMED | {"token": token}
    checkpoint.save(folder / name, state | {"class_parts": named} | changed)
    first = 0
    for rank, size in enumerate(SIZES):
        path = class_parts.part_path(folder, token, rank, len(SIZES))
        own = {"class_parts": {"rank": rank, "token": token, "count": len(SIZES)}}
        checkpoint.save(path, part(slice(first, first + size)) | own)
        first += size
    return folder / name


def assert_in_parts(folder, n_processes):
    """Each process wrote the rows of its own of 10 classes, and nothing is left over."""
    expected = set()
    for path in (folder / "last.pt", *folder.glob("model_*.pt")):
        state = torch.load(path)
        token, count = state["class_parts"]["token"], state["class_parts"]["count"]
        files = [class_parts.part_path(folder, token, rank, count) for rank in range(n_processes)]
        weights = [torch.load(file)["method_state_dict"] for file in files]
        assert not weights[0].keys() & state["method_state_dict"].keys()
        n_rows = [len(next(iter(rows.values()))) for rows in weights]
        assert (count, sum(n_rows)) == (n_processes, 10) and max(n_rows) - min(n_rows) <= 1
        expected |= set(files)
    assert set(folder.glob("classes_*")) == expected


def assert_whole(state):
    expected = whole()
    assert state.keys() == expected.keys()
    for name, value in expected["method_state_dict"].items():
        assert torch.equal(state["method_state_dict"][name], value)
    found = state["optimizer_state_dict"]["state"]
    assert torch.equal(found[4]["m"], MOMENTUM) and found[0].keys() == {"step"}


def test_a_checkpoint_in_parts_is_read_as_the_whole_one(tmp_path):
    assert_whole(checkpoint.load(in_parts(tmp_path)))


def test_a_copied_folder_is_read_too(tmp_path):
    (tmp_path / "first").mkdir()
    in_parts(tmp_path / "first", "model_3.pt")
    os.rename(tmp_path / "first", tmp_path / "second")
    assert_whole(checkpoint.load_best(tmp_path / "second"))


def test_a_missing_part_is_named(tmp_path):
    path = in_parts(tmp_path)
    class_parts.part_path(tmp_path, TOKEN, 1, 3).unlink()
    words = r"1_of_3.pt is not beside it. Copy classes_1234_\*.*resume=never"
    with pytest.raises(Refused, match=words):
        checkpoint.load(path)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_part_under_the_name_of_another_is_refused(tmp_path, swapped):
    path = in_parts(tmp_path)
    first, last = (class_parts.part_path(tmp_path, TOKEN, rank, 3) for rank in (0, 2))
    content = first.read_bytes()
    if swapped:
        first.write_bytes(last.read_bytes())
    last.write_bytes(content)
    with pytest.raises(Refused, match="number . was written as another one"):
        checkpoint.load(path)


def test_a_part_of_another_checkpoint_is_refused(tmp_path):
    path = in_parts(tmp_path)
    in_parts(tmp_path, "other.pt", token=77)
    other = class_parts.part_path(tmp_path, 77, 1, 3)
    other.rename(class_parts.part_path(tmp_path, TOKEN, 1, 3))
    with pytest.raises(Refused, match=r"number 1 was written as another one.*77.*own name"):
        checkpoint.load(path)


def test_parts_that_name_no_checkpoint_are_read(tmp_path):
    path = in_parts(tmp_path)
    for file in tmp_path.glob("classes_*"):
        content = torch.load(file)
        del content["class_parts"]
        checkpoint.save(file, content)
    assert_whole(checkpoint.load(path))


@pytest.mark.parametrize(
    "named",
    [
        *({}, {"token": "../../1", "count": 3}, {"token": TOKEN, "count": 0}),
        *({"token": -1, "count": 3}, {"token": True, "count": 1}, {"token": TOKEN, "count": 2**40}),
        *({"token": 2**64, "count": 3}, {"token": TOKEN, "count": 3.0}),
    ],
)
def test_names_that_are_none_are_refused(tmp_path, named):
    with pytest.raises(Refused, match="class_parts names no files of classes"):
        checkpoint.load(in_parts(tmp_path, class_parts=named))


@pytest.mark.parametrize("named", ["text", [1, 2], 3])
def test_names_of_another_type_are_refused(tmp_path, named):
    with pytest.raises(Refused, match="class_parts"):
        checkpoint.load(in_parts(tmp_path, class_parts=named))


OTHER_PARTS = {
    "no rows": {"method_state_dict": {}, "optimizer_state": {}},
    "no dict": [torch.ones(2)],
    "no tensors": {"method_state_dict": {"weight": 1, "bias": "x"}, "optimizer_state": {}},
    "other width": part(slice(0, 2)) | {"method_state_dict": {"weight": torch.ones(2, 9)}},
    "no optimizer": {"method_state_dict": part(slice(2, 5))["method_state_dict"]},
}


@pytest.mark.parametrize("name", OTHER_PARTS)
@pytest.mark.parametrize("rank", [0, 1])
def test_parts_that_do_not_fit_are_refused(tmp_path, name, rank):
    path = in_parts(tmp_path)
    checkpoint.save(class_parts.part_path(tmp_path, TOKEN, rank, 3), OTHER_PARTS[name])
    with pytest.raises(Refused, match="do not fit"):
        checkpoint.load(path)


def test_code_in_a_part_is_not_run(tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    path = in_parts(tmp_path)
    torch.save({"method_state_dict": Attack()}, class_parts.part_path(tmp_path, TOKEN, 1, 3))
    with pytest.raises(Refused, match="was not loaded"):
        checkpoint.load(path)
    class_parts.part_path(tmp_path, TOKEN, 1, 3).write_bytes(pickle.dumps(Attack()))
    with pytest.raises(Refused, match="was not loaded"):
        checkpoint.load(path)
    assert not (tmp_path / "ran").exists()


def test_files_that_no_checkpoint_names_are_deleted(tmp_path):
    in_parts(tmp_path, "model_1.pt", token=1)
    in_parts(tmp_path, "last.pt", token=2)
    in_parts(tmp_path, "former.pt", token=3)
    (tmp_path / "classes_own.pt").touch()
    checkpoint.remove_unused_parts(tmp_path)
    left = {path.name for path in tmp_path.glob("classes_*.pt")}
    parts = {class_parts.part_path(tmp_path, t, r, 3).name for t in (1, 2) for r in range(3)}
    assert left == parts | {"classes_own.pt"}
    (tmp_path / "last.pt").write_text("damaged")
    checkpoint.remove_unused_parts(tmp_path)
    assert left == {path.name for path in tmp_path.glob("classes_*.pt")}
    checkpoint.save(tmp_path / "last.pt", {"class_parts": [1]})
    checkpoint.remove_unused_parts(tmp_path)
    parts = {class_parts.part_path(tmp_path, 1, r, 3).name for r in range(3)}
    assert {path.name for path in tmp_path.glob("classes_*.pt")} == parts | {"classes_own.pt"}
