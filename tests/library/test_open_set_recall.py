"""vMF softmax retrieves new classes as well as cosine softmax, where it starts sure enough."""

import vmf_embeddings as vmf
from vmf_embeddings.datasets.digits import read_digits

SHORT = ["experiment=digits_open", "random_seed=1", "mode.epochs=12"]
SOFTMAX = ["criterion=softmax", "criterion.params.class_lr=0.001"]
VMF = [
    "method=vmf_softmax",
    "arch.params.normalize=False",
    "arch.params.learn_temp=True",
    "arch.params.init_temp=-2.773",
    "arch.params.kappa_confidence=auto",
    "mode.temp_learning_rate=0.01",
]


def recall(overrides: list[str], folder: object) -> float:
    run = vmf.train([*SHORT, *overrides, f"hydra.run.dir={folder}"])
    images, labels = read_digits()
    unseen = labels >= 5
    embeddings = run.embed(images[unseen].numpy()[:, 0])
    scores = vmf.evaluate(embeddings, labels[unseen], metrics=["recall"], geometry="cosine")
    return scores["retrieval"]["recall@1"]


def test_automatic_confidence_is_within_two_points_of_cosine_softmax(tmp_path):
    softmax, vmf_softmax = (recall(w, tmp_path / w[0]) for w in (SOFTMAX, VMF))
    assert softmax > 0.9
    assert vmf_softmax > softmax - 0.02
