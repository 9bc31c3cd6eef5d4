"""`data=PATH`: what it stands for, what is typed counts, and what is refused."""

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import vmf_embeddings as vmf
from tests.cli.test_second_stage import composed
from tests.datasets.images import draw
from vmf_embeddings.cli import own_choices, own_data
from vmf_embeddings.cli.data_kind import DataKind, kind_of_data
from vmf_embeddings.cli.own_choices import Facts
from vmf_embeddings.untrusted.refused import Refused


@pytest.fixture
def pictures(tmp_path):
    """Six classes of four small pictures; the folder's name needs quotes."""
    for label in range(6):
        for seed in range(4):
            draw(tmp_path / "my, pictures" / f"c{label}" / f"{seed}.png", seed=seed, label=label)
    return tmp_path / "my, pictures"


@pytest.fixture
def vectors(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 30)
    rows = rng.normal(size=(120, 5)) + 3 * np.eye(5)[labels]
    np.savez(tmp_path / "feats.npz", embeddings=rows.astype(np.float32), labels=labels)
    return tmp_path / "feats.npz"


def stands_for_words(*arguments):
    return own_data.typed_out(arguments, lambda _: None)


def stands_for(*arguments):
    """Key -> value of the overrides, read as the command line reads them."""
    parsed = OverridesParser.create().parse_overrides(own_data.typed_out(arguments, lambda _: None))
    return {one.key_or_group: one.value() for one in parsed}


@pytest.mark.parametrize("experiment", ["own_closed", "own_open", "own_long_tail"])
def test_pictures_get_a_data_set_a_network_batches_and_a_length_that_compose(experiment, pictures):
    found = stands_for(f"experiment={experiment}", f"data={pictures}")
    assert found["dataset.params.dataset_path"] == str(pictures)
    assert found["dataset.params.open_set"] is (experiment == "own_open")
    assert found["arch"] == "resnet18" and found["dataset.params.image_size"] == 32
    assert found["name"] == f"{experiment}_my_pictures"
    cfg = composed(own_data.typed_out([f"experiment={experiment}", f"data={pictures}"], print))
    assert cfg.mode.images_seen >= 60 and cfg.dataset.params.augment == "gentle"


@pytest.mark.parametrize("typed", ["dataset.params.chanels=1", "dataset.params.image_size=[3"])
def test_what_the_data_set_does_not_know_is_left_to_the_composition(pictures, typed):
    assert stands_for_words("experiment=own_closed", f"data={pictures}", typed)[-1] == typed


def test_what_is_typed_counts(pictures):
    typed = ("arch=resnet50", "mode.epochs=3", "sampler.batch_size=6", "name=mine")
    found = stands_for("experiment=own_open", f"data={pictures}", *typed)
    assert found["arch"] == "resnet50" and found["name"] == "mine"
    assert "arch.params.first_conv_3x3" not in found  # was chosen for another network
    assert found["mode.epochs"] == 3 and found["mode.images_seen"] is None
    assert found["sampler.batch_size"] == 6
    assert found["sampler.n_samples"] == 3  # divides the typed size of a batch


def test_a_typed_option_of_a_group_gets_no_keys_of_another(pictures):
    found = stands_for("experiment=own_closed", f"data={pictures}", "sampler=episodic")
    assert "sampler.batch_size" not in found


def test_vectors_of_new_classes_are_retrieved_and_others_classified(vectors):
    closed = stands_for("experiment=own_features", f"data={vectors}")
    assert closed["dataset"] == "features" and "method" not in closed
    opened = stands_for(
        "experiment=own_features", f"data={vectors}", "dataset.params.open_set=true"
    )
    assert opened["method"] == "dml" and opened["sampler"] == "m_per_class"
    typed = ("dataset.params.open_set=true", "method=arcface")
    other = stands_for("experiment=own_features", f"data={vectors}", *typed)
    assert "criterion" not in other and other["arch"] == "linear"
    plain = ("experiment=own_features", f"data={vectors}", "arch=linear")
    assert "arch.params.dropout" not in stands_for(*plain)
    assert composed(own_data.typed_out(plain, print)).arch.name == "linear"


def test_flags_stay_and_commands_without_own_data_are_unchanged(pictures):
    plain = ["-m", "experiment=demo", "mode.epochs=1,2"]
    assert own_data.typed_out(plain, print) == plain
    swept = own_data.typed_out(
        ["-m", "experiment=own_closed", f"data={pictures}", "random_seed=1,2"], lambda _: None
    )
    assert swept[0] == "-m" and swept[-1] == "random_seed=1,2"
    left_out = next(one for one in swept if one.startswith("hydra.job"))
    assert left_out.endswith("mode.images_seen,mode.select]") and ",data,weights," in left_out
    assert "random_seed" not in left_out and "experiment" not in left_out
    shown = ["experiment=own_open", "--cfg", "job"]
    assert own_data.typed_out(shown, print) == shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["experiment=own_open"], "add data=PATH"),
        (["experiment=demo", "data=x"], "goes with one of the experiments"),
        (["data=x"], "goes with one of the experiments"),
        (["weights=x"], "arch.params.weights"),
        (["experiment=own_open", "data=not/there"], "no such file or folder"),
    ],
)
def test_what_is_missing_is_said_with_what_to_type(arguments, words):
    with pytest.raises(Refused, match=words):
        own_data.typed_out(arguments, print)


def test_pictures_are_no_vectors(pictures):
    with pytest.raises(Refused, match="own_closed"):
        own_data.typed_out(["experiment=own_features", f"data={pictures}"], print)


@pytest.mark.parametrize("experiment", ["own_closed", "own_open", "own_long_tail"])
def test_vectors_are_no_pictures_and_what_to_type_instead_composes(vectors, experiment):
    with pytest.raises(Refused, match="say experiment=own_features") as refused:
        own_data.typed_out([f"experiment={experiment}", f"data={vectors}"], print)
    words = str(refused.value).rpartition("say ")[2].split()
    cfg = composed(own_data.typed_out([*words, f"data={vectors}"], print))
    assert cfg.dataset.name == "features"


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("resnet18-f37072fd.pth", {"arch": "resnet18"}),
        ("tf_efficientnet_lite0.safetensors", {"arch.params.model": "tf_efficientnet_lite0"}),
        ("resnet50.tv_in1k.safetensors", {"arch.params.model": "resnet50"}),
    ],
)
def test_weights_are_of_the_network_that_their_file_is_named_after(tmp_path, name, network):
    (tmp_path / name).touch()
    assert network.items() <= own_choices.network_of(tmp_path / name).items()


def test_transformers_of_one_size_get_their_own(pictures, tmp_path):
    (tmp_path / "vit_tiny_patch16_224.safetensors").touch()
    found = stands_for(
        "experiment=own_open",
        f"data={pictures}",
        f"weights={tmp_path / 'vit_tiny_patch16_224.safetensors'}",
    )
    assert found["arch.params.model"] == "vit_tiny_patch16_224"
    assert found["dataset.params.image_size"] == "auto"


@pytest.mark.parametrize("name", ["weights.pt", "resnet5.pth"])
def test_weights_of_no_known_name_are_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(Refused, match=r"arch\.params\.model=NAME"):
        own_choices.network_of(tmp_path / name)


@pytest.mark.parametrize("n", [5, 13, 100, 762, 20_000, 1_000_000])
@pytest.mark.parametrize("is_open", [True, False])
def test_batches_and_lengths_suit_any_size(n, is_open):
    facts = Facts(n, max(2, n // 3), 3, 10, 2, is_open, side=64)
    batches = own_choices._batches(facts, {}, of_classes=is_open)
    size = batches["sampler.batch_size"]
    assert 2 <= size <= max(n, 6)
    if is_open:
        assert size // batches["sampler.n_samples"] <= facts.n_classes
    budget = own_choices._length(facts, {}, pretrained=False, images=True)["mode.images_seen"]
    assert 5 * n <= budget <= 60 * n


@pytest.mark.parametrize(
    ("experiment", "n_valid", "n_classes", "select"),
    [
        ("own_open", 2000, 1, "last"),  # every neighbour there is right
        ("own_open", 2000, 2, None),
        ("own_closed", 49, 7, "last"),
        ("own_closed", 50, 7, None),
    ],
)
def test_epochs_are_chosen_by_validation_where_it_can_tell_them_apart(
    experiment, n_valid, n_classes, select
):
    kind = DataKind("folder", {"dataset_path": "photos"})
    facts = Facts(14000, 7, 2000, n_valid, n_classes, experiment == "own_open", side=28)
    found = own_choices.choices(experiment, kind, facts, {}, None)
    assert found.get("mode.select") == select


def test_classes_of_validation_are_counted(pictures):
    kind = kind_of_data(pictures, open_set=True)
    facts = Facts.of(kind, {"test_share": "0.2", "valid_share": "0.2"})
    assert facts.n_classes + facts.n_valid_classes < 6 and facts.n_valid_classes == 1


def test_one_line_trains_and_embeds_from_python(vectors, tmp_path, monkeypatch):
    monkeypatch.setenv("VMF_RUNS", str(tmp_path / "runs"))
    run = vmf.train(["experiment=own_features", f"data={vectors}", "mode.epochs=20"])
    rows = np.load(vectors)
    assert (run.predict(rows["embeddings"]).argmax(1) == rows["labels"]).mean() > 0.9


@pytest.mark.parametrize(
    ("header", "row", "kind"),
    [
        ("embedding,label,split", '"[0.5, 1.0, 2.0]",cat,train', "features"),
        ("split,label,vector", "test,cat,[0.5 1.0 2.0]", "features"),
        ("file_name,class", "a.jpg,cat", "csv"),
        ("label,paht,split", "cat,a.jpg,train", "csv"),
    ],
)
def test_a_table_is_one_of_vectors_or_of_images_by_its_cells(tmp_path, header, row, kind):
    table = tmp_path / "t.csv"
    table.write_text(f"{header}\n{row}\n")
    assert kind_of_data(table).name == kind
    if kind == "features":  # such a table may be UTF-16
        table.write_text(f"{header}\n{row}\n", "utf-16")
        assert kind_of_data(table).name == kind


def test_folders_of_tars_and_of_embeddings_are_known_by_their_content_and_their_ending(tmp_path):
    for name in ("train-0.tar", "test-0.tar"):
        (tmp_path / name).write_bytes(b"")
    assert kind_of_data(tmp_path) == DataKind("tar", {"dataset_path": tmp_path})
    (tmp_path / "valid-00.tar").write_bytes(b"")
    assert kind_of_data(tmp_path).values["valid_tars"] == "valid-*.tar"
    vmf.write(vmf.EmbeddingFile(np.eye(4), [0, 1, 0, 1]), tmp_path / "x.emb")
    assert kind_of_data(tmp_path / "x.emb").name == "features"
