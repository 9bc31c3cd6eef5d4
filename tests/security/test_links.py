"""Nothing that a command writes into a received run folder goes through a link out of it."""

import os
import shutil
from pathlib import Path

import pytest

from tests.commands.run import MAIN, command, refused, succeeds
from tests.security.test_checkpoints import RUN, TINY
from vmf_embeddings.training.records import Records
from vmf_embeddings.untrusted.files import replacing
from vmf_embeddings.untrusted.refused import Refused

CLASSIFIER = ("method=classifier", *TINY)
SECRET = "the reader's own file\n"


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    succeeds(MAIN, *CLASSIFIER, cwd=folder)
    return folder / RUN.replace("unnormalized_sce", "classifier")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").write_text(SECRET)
    return Path(shutil.copytree(trained, tmp_path / "run"))


def plant(place: Path, *, target: str = "file") -> None:
    """Puts a link to the reader's own file or folder in place of what a command writes."""
    place.unlink(missing_ok=True)
    place.symlink_to(
        place.parents[len(place.parts) - place.parts.index("run") - 1] / "home" / target
    )


TRAIN = (*CLASSIFIER, "resume=never", "hydra.run.dir=run")
EXTRACT = ("mode=get_embeddings", "run=run")
WRITTEN = {
    "train": (TRAIN, ("last.pt", "model_0.pt", "metrics.csv", "metrics.jsonl")),
    "get_embeddings": (EXTRACT, ("digits_test.npz",)),
    "virtual_dist": (
        ("mode=virtual_dist", "run=run"),
        ("virtual_examples.json", "virtual_examples.csv", "virtual_examples.png"),
    ),
    "tau_norm": (
        ("mode=tau_norm", "run=run"),
        ("tau_norm/tau_norm.json", "tau_norm/last.pt", "tau_norm/model_0.pt"),
    ),
}


@pytest.mark.parametrize("mode", WRITTEN)
def test_links_in_place_of_files_are_replaced_or_refused_and_never_followed(run, mode):
    said, names = WRITTEN[mode]
    for name in names:
        (run / name).parent.mkdir(exist_ok=True)
        plant(run / name)
    done = command(MAIN, *said, cwd=run.parent)
    assert done.returncode in (0, 2), done.stderr
    assert (run.parent / "home" / "file").read_text() == SECRET
    assert done.returncode == 2 or not any((run / name).is_symlink() for name in names)


LOGS_AND_FOLDERS = {
    "main.get_embeddings.log": EXTRACT,
    ".hydra_get_embeddings": EXTRACT,
    "tau_norm": ("mode=tau_norm", "run=run"),
    "crt": (*TRAIN, "stages=imbalance", "stages.second=['mode=crt']"),
}


@pytest.mark.parametrize("name", LOGS_AND_FOLDERS)
def test_links_that_would_be_written_through_are_refused_by_name(run, name):
    shutil.rmtree(run / name, ignore_errors=True)
    plant(run / name, target="file" if name.endswith(".log") else "")
    assert f"{name} is a symbolic link" in refused(MAIN, *LOGS_AND_FOLDERS[name], cwd=run.parent)
    assert (run.parent / "home" / "file").read_text() == SECRET
    assert os.listdir(run.parent / "home") == ["file"]


@pytest.mark.parametrize("name", ("tensorboard", "wandb"))
def test_trackers_do_not_write_through_a_link(tmp_path, name):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Refused, match=f"{name} is a symbolic link"):
        Records(tmp_path / "run")
    assert not any((tmp_path / "elsewhere").iterdir())


def test_temporary_name_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / f".a.{os.getpid()}.part").symlink_to(tmp_path / "secret")
    with replacing(tmp_path / "a") as part:
        part.write_text("new")
    assert (tmp_path / "secret").read_text() == SECRET
    assert (tmp_path / "a").read_text() == "new"
