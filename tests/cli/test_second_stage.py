"""Second stages leave the backbone as it is to the last bit, and choose what they say."""

import functools
import json
import shlex

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import OverrideParseException

from tests.test_configs import CONF
from vmf_embeddings.cli import app, assembly, overrides
from vmf_embeddings.cli.assembly import Refused
from vmf_embeddings.directional import VonMisesFisher
from vmf_embeddings.heads.posthoc import tau_normalized
from vmf_embeddings.training import checkpoint

NET = ["arch=n_digit_mnist", "arch.params.embedding_dim=8", "trainer.cpu=true", "trainer.threads=1"]
FIRST = [
    *("dataset=digits_lt", "method=classifier", *NET),
    *("sampler=random", "sampler.batch_size=64", "schedule=cosine", "mode.epochs=1"),
    *("mode.learning_rate=0.1", "mode.momentum=0.9"),
]
SHORT = ["mode.epochs=1", "sampler.batch_size=64", "trainer.cpu=true", "trainer.threads=1"]
STAGES = 'stages.second=["mode=finetune","mode.epochs=1","sampler.batch_size=64"]'


def composed(words):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", words)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One epoch of a linear classifier."""
    folder = tmp_path_factory.mktemp("run")
    app.train(composed([*FIRST, "head=linear"]), folder)
    return folder


def second(kind, run, *words, into=None):
    """The state that a second stage leaves, and its folder."""
    given = [f"mode={kind}", f"run={run}", *words]
    cfg = composed(given)
    folder = run / (into or cfg.mode.stage)
    folder.mkdir(exist_ok=True)
    app.MODES[kind](cfg, folder, given)
    return checkpoint.load_best(folder), folder


@pytest.fixture(scope="module")
def learnt(run):
    """From a kind of second stage to what `second` gives for it, trained once."""
    return functools.cache(lambda kind: second(kind, run, *SHORT))


def part(state, prefix):
    found = {k: v for k, v in state["method_state_dict"].items() if k.startswith(prefix)}
    assert found
    return found


def differing(a, b):
    return {name for name in a if not torch.equal(a[name], b[name])}


@pytest.mark.parametrize(
    "kind", ["finetune", "crt", "lws", "tau_norm", "maxnorm", "ncm", "vmf_bayes", "posthoc_tau"]
)
def test_command_works_in_a_folder_of_its_own_below_the_run(kind):
    assembly.register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", [f"mode={kind}", "run=a/b"], return_hydra_config=True)
    assert cfg.hydra.run.dir == f"a/b/{kind}"
    assert (cfg.method.name, cfg.sampler.name) == ("classifier", "class_aware")


@pytest.mark.parametrize("kind", ["finetune", "crt", "lws"])
def test_backbone_is_the_runs_to_the_last_bit_and_the_head_learns(kind, run, learnt):
    first = checkpoint.load_best(run)
    state, folder = learnt(kind)
    assert not differing(part(first, "arch."), part(state, "arch."))
    heads = part(state, "classifier.")
    at_once = checkpoint.load(folder / "last.pt")
    expected = {"finetune": 2, "crt": 2, "lws": 1}[kind]  # weights and a scale, a bias; scales
    n_learnt = sum(len(g["params"]) for g in at_once["optimizer_state_dict"]["param_groups"])
    assert n_learnt == expected
    if kind == "lws":
        own = part(first, "classifier.")
        assert not differing(own, heads)
        assert not torch.equal(heads["classifier.scales"], torch.ones(10))


def test_statistics_drift_where_the_reference_is_wanted_and_weights_do_not(run):
    first = checkpoint.load_best(run)
    state, _ = second("crt", run, *SHORT, "mode.freeze_bn=reference", into="drift")
    moved = differing(part(first, "arch."), part(state, "arch."))
    assert moved
    assert {name.rpartition(".")[2] for name in moved} <= {
        *("running_mean", "running_var", "num_batches_tracked")
    }


def test_tau_norm_keeps_what_its_table_says_is_best(run):
    first = checkpoint.load_best(run)
    state, folder = second("tau_norm", run)
    table = json.loads((folder / "tau_norm.json").read_text())
    accuracies = [row["accuracy"] for row in table["variants"]]
    kept = table["variants"][accuracies.index(max(accuracies))]
    assert len(accuracies) == 21
    assert (table["kept"], table["selected_on"]) == (kept["variant"], "valid")
    assert state["best_epoch"]["valid_acc"] == max(accuracies)
    tau = float(kept["variant"].removeprefix("tau="))
    expected = tau_normalized(first["method_state_dict"]["classifier.weight"], tau)
    assert torch.equal(state["method_state_dict"]["classifier.weight"], expected)
    assert not state["method_state_dict"]["classifier.bias"].any()
    assert not differing(part(first, "arch."), part(state, "arch."))


def test_tau_of_logit_adjustment_is_chosen_on_validation_after_training(run):
    """The run was trained without: head and backbone stay, the log class frequencies come in."""
    first = checkpoint.load_best(run)
    state, folder = second("posthoc_tau", run, "mode.values=[0.0,0.5,1.0,20.0]")
    table = json.loads((folder / "posthoc_tau.json").read_text())
    scores = {row["variant"]: row["class_mean"] for row in table["variants"]}
    assert (table["selected_on"], table["chosen_by"]) == ("valid", "class_mean")
    assert scores[table["kept"]] == max(scores.values()) > scores["tau=0"]
    assert scores["tau=20"] < 0.2  # the rarest class alone is predicted
    assert not differing(part(first, "classifier."), part(state, "classifier."))
    tau = float(table["kept"].removeprefix("tau="))
    assert json.loads(state["config"])["method"]["params"]["posthoc_tau"] == tau
    job = assembly.extraction_job(composed(["mode=get_embeddings", f"run={folder}"]), folder, [])
    job.method.load_state_dict(state["method_state_dict"])
    split, train = job.dataset.split("valid"), job.dataset.split("train")
    method = job.method.eval()
    embeddings = method.embed(split.batch(torch.arange(len(split)))["examples"])
    plain = method.unadjusted_logits(embeddings)
    frequencies = train.class_counts / train.class_counts.sum()
    torch.testing.assert_close(method.logits(embeddings), plain - tau * frequencies.log())


@pytest.mark.parametrize(
    "method",
    [
        ["method=bcl", "method.params.projection_hidden=8", "dataset.params.views=3"],
        ["method=loss_prediction", "head=cosine"],
    ],
    ids=lambda words: words[0],
)
def test_a_head_that_trains_beside_something_else_can_be_adjusted_alone(method, tmp_path):
    app.train(composed([*FIRST, *method]), tmp_path)
    first = checkpoint.load_best(tmp_path)
    state, _ = second("posthoc_tau", tmp_path, "mode.values=[0.0,1.0]")
    assert json.loads(state["config"])["method"]["name"] == "classifier"
    assert not differing(part(first, "classifier."), part(state, "classifier."))
    assert not differing(part(first, "arch."), part(state, "arch."))


def test_no_adjustment_can_be_the_best_and_is_extracted_without(run):
    state, folder = second("posthoc_tau", run, "mode.values=[0.0]", into="none")
    cfg = composed(["mode=get_embeddings", f"run={folder}"])
    job = assembly.extraction_job(cfg, folder, [])
    job.method.load_state_dict(state["method_state_dict"])
    assert job.method.log_prior is None


def test_equally_good_taus_leave_the_one_nearest_to_one(run):
    _, folder = second("posthoc_tau", run, "mode.values=[30.0,40.0,25.0]", into="ties")
    table = json.loads((folder / "ties.json").read_text())
    assert len({row["class_mean"] for row in table["variants"]}) == 1
    assert table["kept"] == "tau=25"


def test_a_typed_tau_on_a_trained_run_is_refused_with_the_mode_that_chooses_it(run):
    typed = ["method=classifier", "method.params.posthoc_tau=1.0"]
    cfg = composed(["mode=get_embeddings", f"run={run}", *typed])
    with pytest.raises(Refused, match="by mode=posthoc_tau"):
        assembly.extraction_job(cfg, run, typed)


FSGL = ["method=fsgl", "sampler=paired", "dataset.params.views=2", "method.params.projection_dim=8"]


def test_heads_of_fsgl_can_be_rescaled_and_adjusted_after_training(tmp_path):
    """Those are of the classifier that predicts, so that a maximal norm at 1 changes no logit."""
    app.train(composed([*FIRST, *FSGL]), tmp_path)
    first = checkpoint.load_best(tmp_path)["method_state_dict"]
    for kind, values in (("maxnorm", "[1.0]"), ("posthoc_tau", "[0.0,1.0]")):
        state, _ = second(kind, tmp_path, f"mode.values={values}")
        assert torch.equal(state["method_state_dict"]["classifier.weight"], first["fc_cb.weight"])
        assert torch.equal(state["method_state_dict"]["classifier.bias"], first["fc_cb.bias"])


def test_limit_at_the_longest_weight_changes_nothing(run):
    first = checkpoint.load_best(run)
    state, _ = second("maxnorm", run, "mode.values=[1.0]")
    torch.testing.assert_close(part(state, "classifier."), part(first, "classifier."))


def test_class_means_are_those_of_the_training_embeddings(run):
    state, folder = second("ncm", run, "head.params.features=un")
    cfg = composed(["mode=get_embeddings", f"run={folder}", "split=train"])
    job = assembly.extraction_job(cfg, folder, [])
    method, split = job.method, job.dataset.split("train")
    method.load_state_dict(state["method_state_dict"])
    embeddings = method.eval().embed(split.batch(torch.arange(len(split)))["examples"])
    for k in range(10):
        mean = embeddings[split.labels == k].double().mean(0).float()
        torch.testing.assert_close(
            state["method_state_dict"]["classifier.centroids"][k], mean, rtol=1e-5, atol=1e-5
        )
    scores = method.predict(embeddings)
    assert scores.shape == (len(split), 10)


def test_class_densities_are_those_of_the_training_embeddings(run):
    state, folder = second("vmf_bayes", run, "head.params.prior=uniform")
    job = assembly.extraction_job(composed(["mode=get_embeddings", f"run={folder}"]), folder, [])
    method, split = job.method, job.dataset.split("train")
    method.load_state_dict(state["method_state_dict"])
    embeddings = method.eval().embed(split.batch(torch.arange(len(split)))["examples"])
    vmf = VonMisesFisher.fit(embeddings.double(), labels=split.labels)
    head = method.classifier
    torch.testing.assert_close(head.mu, vmf.loc, rtol=0, atol=1e-6)
    torch.testing.assert_close(head.kappa, vmf.concentration, rtol=1e-4, atol=0)
    assert head.frequency.tolist() == pytest.approx([0.1] * 10)
    table = json.loads((folder / "vmf_bayes.json").read_text())
    assert table["kept"] == "class densities" and table["variants"][0]["accuracy"] > 0.5
    assert method.predict(embeddings).shape == (len(split), 10)


def test_second_stage_resumes_and_refuses_another_configuration(run, learnt):
    state, folder = learnt("crt")
    before = (folder / "last.pt").read_bytes()
    second("crt", run, *SHORT)  # has ended: nothing is trained again
    assert (folder / "last.pt").read_bytes() == before
    with pytest.raises(Refused, match=r"mode\.learning_rate was 0\.2, now 0\.3"):
        second("crt", run, *SHORT, "mode.learning_rate=0.3")
    assert json.loads(state["config"])["run"] == str(run)


def test_another_data_set_is_refused(run, tmp_path):
    with pytest.raises(Refused, match="imbalance_factor"):
        second("crt", run, *SHORT, "dataset=digits_lt", "dataset.params.imbalance_factor=10")
    state = checkpoint.load_best(run)
    checkpoint.save(tmp_path / "model_0.pt", state | {"train_identity": "f00d" * 16})
    with pytest.raises(Refused, match="other images"):
        second("crt", tmp_path, *SHORT)


@pytest.mark.parametrize(
    "overrides, words",
    [
        (["mode=crt"], r"run=FOLDER"),
        (["mode=crt", "run={run}", "mode.freeze_bn=yes"], r"mode\.freeze_bn is one of"),
        (["mode=crt", "run={run}", "mode.weights=old"], r"mode\.weights is one of"),
        (["mode=tau_norm", "run={run}", "mode.values=[]"], r"mode\.values"),
        (["mode=posthoc_tau", "run={run}", "mode.values=[]"], r"mode\.values"),
        (["mode=posthoc_tau", "run={run}", "mode.values=[-1.0]"], r"must be >= 0, got -1"),
        (["mode=posthoc_tau", "run={run}", "head=cosine"], r"keeps the run's head .* leave out he"),
        (["mode=maxnorm", "run={run}", "mode.values=[2.0]"], r"\[0, 1\]"),
    ],
)
def test_unusable_command_is_refused_with_what_to_type(overrides, words, run, tmp_path):
    given = [override.format(run=run) for override in overrides]
    cfg = composed(given)
    with pytest.raises(Refused, match=words):
        app.MODES[cfg.mode.name](cfg, tmp_path, given)


def test_head_without_class_weights_to_rescale_is_refused(learnt):
    _, folder = learnt("finetune")
    with pytest.raises(Refused, match="no linear classifier"):
        second("tau_norm", folder)


def test_both_stages_in_one_command_resume_between_them(tmp_path):
    cfg = composed([*FIRST, "head=tvmf_k16", "stages=imbalance", STAGES])
    app.both_stages(cfg, tmp_path)
    first = checkpoint.load_best(tmp_path)
    whole = checkpoint.load_best(tmp_path / "finetune")
    assert not differing(part(first, "arch."), part(whole, "arch."))
    assert json.loads(first["config"])["head"]["name"] == "tvmf_k16"
    assert json.loads(whole["config"])["head"]["name"] == "cosine"
    written = (tmp_path / "last.pt").read_bytes()
    for path in (tmp_path / "finetune").glob("*.pt"):  # as if interrupted between the stages
        path.unlink()
    app.both_stages(cfg, tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == written
    again = checkpoint.load_best(tmp_path / "finetune")
    assert not differing(whole["method_state_dict"], again["method_state_dict"])


def test_stages_that_do_not_train_or_are_no_second_stage_are_refused(tmp_path):
    with pytest.raises(Refused, match="leave out mode=get_embeddings"):
        app.both_stages(composed(["mode=get_embeddings", "stages=imbalance"]), tmp_path)
    cfg = composed([*FIRST, "stages=imbalance", "stages.second=[]"])
    with pytest.raises(Refused, match=r"stages\.second"):
        app.both_stages(cfg, tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    {
        "[mode=foo]": "stages.second: mode has no option 'foo'",
        "[mode=finetune,mode.epochs=x]": "mode.epochs expects a whole number .* got 'x'",
        "[mode=tau_norm,mode.values=[a]]": "mode.values expects a list of numbers .* got",
        "[mode=finetune,mode.epochs=-1]": "mode.epochs must be at least 0, got -1",
        "[mode=finetune,mode.learning_rate=nan]": "expected a finite number",
        "[mode=finetune,optimizer.params.foo=1]": "there is no 'optimizer.params.foo'",
        "[mode=finetune,epochs=3]": "stages.second: there is no 'epochs' .*'mode.epochs'",
    }.items(),
)
def test_mistakes_in_a_second_stage_are_refused_before_the_first_begins(given, said, tmp_path):
    (word,) = overrides.quoted([f"stages.second={given}"])
    cfg = composed([*FIRST, "stages=imbalance", word])
    with pytest.raises(Refused, match=said), assembly.refusals():
        app.both_stages(cfg, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_second_stage_without_brackets_is_told_to_be_typed_in_brackets():
    (argument,) = overrides.quoted(["stages.second=mode=finetune"])
    with pytest.raises(OverrideParseException) as failure:
        overrides.composed([argument])
    said = overrides.explain(failure.value, [argument])
    (typed,) = shlex.split(said[said.index("type ") + len("type ") :])
    cfg = composed(["stages=imbalance", *overrides.quoted([typed])])
    assert list(cfg.stages.second) == ["mode=finetune"]
