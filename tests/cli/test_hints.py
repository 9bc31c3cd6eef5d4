"""What a message says to type is typed, and helps: the command then trains."""

import re
import shlex

import pytest

from tests.commands.run import MAIN, refused, succeeds
from tests.quick_cases import mostly_slow
from vmf_embeddings.cli import training_call
from vmf_embeddings.cli.assembly import Refused

QUICK = (
    *(
        "dataset=digits",
        "mode.epochs=1",
        "trainer.threads=1",
        "num_workers=0",
        "mode.learning_rate=0.01",
    ),
)
SHORT = (*QUICK, "sampler.n_episodes=2")
CLASSIFIER = ("method=classifier", "head=linear", "loss=ce")
# what is typed -> what the message says to type, {run} being the folder of a trained run
HINTS = {
    "a run of another configuration": (
        ("name=first", *CLASSIFIER, "mode.momentum=0.5"), r"add (name=\S+);", (),
    ),
    "or start over": (
        ("name=first", *CLASSIFIER, "mode.momentum=0.5"), r"add (resume=never)", (),
    ),
    "a second stage of another configuration": (
        ("mode=finetune", "run={run}", "mode.momentum=0.5"), r"add (mode\.stage=\S+);", (),
    ),
    "a second stage without a run": (
        ("mode=crt",), r"add (run=FOLDER)", (),
    ),
    "a head of a second stage": (
        (*CLASSIFIER, "head=lws"), r"use (mode=lws run=RUN_FOLDER)", (*CLASSIFIER, "head=lws"),
    ),
    "a teacher": (
        ("method=dive", "method.params.student.name=classifier"),
        r"add (method\.params\.teacher=RUN)", ("method.params.student.name=classifier",),
    ),
    "fewer classes than the data": (
        ("arch.params.n_classes=4",), r"use (arch\.params\.n_classes=10)", (),
    ),
    "gray images": (
        ("arch=resnet18", "arch.params.pretrained=false", "arch.params.first_conv_3x3=true"),
        r"(arch\.params\.in_channels=1)", (),
    ),
    "a loss that nothing reads": (
        ("method=arcface", "loss=focal"), r"use (method=classifier)", ("method=arcface",),
    ),
    "use_vmf against the method": (
        ("method=vmf_softmax", "arch.params.use_vmf=false"),
        r"leave (arch\.params\.use_vmf) out", ("arch.params.use_vmf=false",),
    ),
    "a name that can be read in two ways": (
        ("name=null", *CLASSIFIER), r"type ('name=\"null\"')", ("name=null",),
    ),
    "a name with a comma": (
        ("name=a,b", *CLASSIFIER), r"type ('name=\"a,b\"')", ("name=a,b",),
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a trained run and a second stage on it; paths have spaces and brackets."""
    folder = tmp_path_factory.mktemp("my folder (1)")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run = training_call.train([*SHORT, *CLASSIFIER, "name=first"])
        training_call.train([*SHORT, *CLASSIFIER, "name=it's (1) mine"])
        training_call.train(["mode=finetune", f"run={run}", *QUICK])
    return folder, folder / run


def complaint(arguments):
    """The message by which a training is refused."""
    with pytest.raises(Refused) as refusal:
        training_call.train(arguments)
    return str(refusal.value)


# one of each kind: name, run, teacher, network, method, key to leave out, quotes
QUICK_HINTS = (
    *("a run of another configuration", "a second stage of another configuration", "a teacher"),
    *("a head of a second stage", "gray images", "a loss that nothing reads"),
    *("use_vmf against the method", "a name with a comma"),
)


@pytest.mark.parametrize("name", mostly_slow(HINTS, QUICK_HINTS))
def test_the_override_in_a_message_helps(name, home, monkeypatch):
    folder, run = home
    monkeypatch.chdir(folder)
    typed, hint, left_out = HINTS[name]
    given = [word.format(run=run) for word in (*SHORT, *typed)]
    if any(word in ("mode=finetune", "mode=crt", "head=lws") for word in typed):
        given = [word for word in given if word not in SHORT or word in QUICK]
    said = " ".join(complaint(given).split())
    found = re.search(hint, said)
    assert found, said
    words = shlex.split(found[1])
    helped = [re.sub(r"=(RUN_FOLDER|FOLDER|RUN)$", f"={run}", word) for word in words]
    kept = [one for one in given if one.format(run=run) not in left_out]
    kept = [one for one in kept if one.split("=")[0] not in {h.split("=")[0] for h in helped}]
    if not helped[0].count("="):  # a key to be left out
        helped = []
    trained = training_call.train([*kept, *helped])
    assert (folder / trained / "last.pt").is_file()


@pytest.mark.slow
def test_commands_in_messages_help_where_paths_have_signs_of_the_shell(home):
    folder, _ = home
    run = "runs/digits/classifier/3dim/it's (1) mine"
    said = refused("vmf_embeddings.evaluate", run, cwd=folder)
    words = shlex.split(said[said.index("python -m vmf_embeddings.main") :])
    succeeds(MAIN, *words[3:], cwd=folder)
    succeeds("vmf_embeddings.evaluate", run, "--no-figures", cwd=folder)
    said = refused(MAIN, "mode=get_embeddings", f"run={run}", "method=arcface", cwd=folder)
    (argument,) = shlex.split(re.search(r"Leave it out \((.*) is enough\)", said)[1])
    succeeds(MAIN, "mode=get_embeddings", argument, cwd=folder)
