"""Methods of the study of directional methods, the sets they are compared on, what is searched."""

from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks.directional_runs import Parts, closed_scores, open_scores

TUNING_SEED, SEEDS = 0, (1, 2, 3, 4, 5)
RATES = (3e-4, 1e-3, 3e-3)  # of Adam; the one in the middle is tried first
WIDER = (1e-4, *RATES, 1e-2)
FACTORS = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # of a published rate of SGD
LEARNED = ("arch.params.learn_temp=true", "arch.params.init_temp=-2.77")
SCALE = "head.params.scale=16"  # Adam moves the learned one, which starts at 1.69, too slowly
LENGTH = ("arch.params.normalize=false",)  # the norm of an embedding is its concentration
VMF = ("method=vmf_softmax", *LEARNED, *LENGTH)
LEARNED_KAPPA = "method.params.kappa_learning_rate=0.03"
ELK = ("method=elk", *LENGTH, "arch.params.kappa_confidence=auto")
COSINE = ("method=normalized_sce", *LEARNED)
ARCFACE = ("method=arcface", *LEARNED)
ADAM = ("optimizer=adam", "mode.weight_decay=0.0004")


def dml(criterion: str, *words: str) -> tuple[str, ...]:
    """Words of a criterion on pairs or proxies."""
    return ("method=dml", f"criterion={criterion}", *words)


OPEN = {
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    "vMF softmax": (*VMF, "arch.params.kappa_confidence=auto"),
    "t-vMF": ("method=classifier", "head=tvmf_k16", SCALE),
    "ELK": ELK,
    "nivMF": ("method=nivmf", *ELK[1:]),
    "MCInfoNCE": dml("mcinfonce", *LENGTH),
    "CIDER": dml("cider", "criterion.params.momentum=0.95"),
    "proxy anchor": dml("proxy_anchor"),
    "SupCon": dml("supcon"),
    "Recall@k": dml("recall_at_k"),
    "Hyp-ViT": dml("poincare_pairs", *LENGTH),
}
CLOSED = {
    "softmax": ("method=unnormalized_sce",),
    **{name: OPEN[name] for name in ("cosine softmax", "ArcFace")},
    "vMF softmax": (*VMF, "arch.params.kappa_confidence=0.9"),
    "t-vMF": OPEN["t-vMF"],
    "ELK": ("method=elk", *LEARNED[:1], *LENGTH, "arch.params.kappa_confidence=0.7"),
    **{name: OPEN[name] for name in list(OPEN)[6:]},
}
PRIOR = "loss=balanced_softmax"
LONG_TAIL = {
    "softmax": ("method=classifier", "loss=ce"),
    "balanced softmax": ("method=classifier", PRIOR),
    "cosine, balanced": ("method=classifier", "head=cosine", SCALE, PRIOR),
    "t-vMF, balanced": (*OPEN["t-vMF"], PRIOR),
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    "vMF softmax": CLOSED["vMF softmax"],
    "ELK": CLOSED["ELK"],
    "ProCo": ("method=proco", SCALE, "dataset.params.views=3"),
    "BCL": ("method=bcl", SCALE, "dataset.params.views=3"),
    "PaCo": ("method=paco", "dataset.params.views=2"),
}
STARTS = {
    "vMF softmax, 0.4": ("arch.params.kappa_confidence=0.4",),
    "vMF softmax, auto": ("arch.params.kappa_confidence=auto",),
    "vMF softmax, 0.4, learned": ("arch.params.kappa_confidence=0.4", LEARNED_KAPPA),
}
CALIBRATION = {
    "softmax": CLOSED["softmax"],
    "cosine softmax": COSINE,
    "ArcFace": ARCFACE,
    **{title: (*VMF, *words) for title, words in STARTS.items()},
}
# As experiment=mnist_vmf_softmax, mnist_normalized_sce, … of 2021: momentum, learning rate, and a
# temperature of 1 at the start.
PUBLISHED_RATES = {"softmax": 0.1, "cosine softmax": 0.5, "ArcFace": 0.05}  # the others: 1
LEARNED_FROM_1 = ("arch.params.learn_temp=true",)
HEAVY = ("mode.momentum=0.99", "mode.nesterov=true")
LIGHT = ("mode.momentum=0.9", "mode.nesterov=false")
BY_SGD = {
    "softmax": ("method=unnormalized_sce", *LIGHT),
    "cosine softmax": ("method=normalized_sce", *LEARNED_FROM_1, LIGHT[0], HEAVY[1]),
    "ArcFace": ("method=arcface", *LEARNED_FROM_1, *LIGHT),
    **{
        title: ("method=vmf_softmax", *LEARNED_FROM_1, *LENGTH, *HEAVY, *words)
        for title, words in STARTS.items()
    },
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """Sets that are split in one way, and the methods and scores that are compared on them.

    Attributes:
        methods: title -> words of the command.
        scores: of the parts of a run.
        columns: titles of the table.
        compared: those of them that are compared with the baseline's.
        baseline: title of a method.
        chosen_by: score of the tuning run that is largest at the best rate.
        words: of every command.
        sets: name -> words of its commands.
        on_request: likewise, of sets that are run only where `--only` names them.
        rates: learning rates that may be tried, upwards; the search begins in the middle.
        published: title -> rate of which `rates` are factors; 1 where it has none.
        rates_of: task and set whose best rates are taken without a search; "" = none.
        temperature_rates: of a learned temperature, chosen by likelihood after the learning rate,
            in a search that begins with the first one; none = that of the experiment.
    """

    methods: dict[str, tuple[str, ...]]
    scores: Callable[[Parts], dict[str, float]]
    columns: tuple[str, ...]
    compared: tuple[str, ...]
    baseline: str
    chosen_by: str
    words: tuple[str, ...] = ()
    sets: dict[str, tuple[str, ...]] = field(default_factory=dict)
    on_request: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rates: tuple[float, ...] = RATES
    published: dict[str, float] = field(default_factory=dict)
    temperature_rates: tuple[float, ...] = ()
    rates_of: tuple[str, str] = ("", "")


OPEN_COLUMNS = ("R@1", "MAP@R", "few-shot", "R-AUROC, norm", "R-AUROC, nearest", "OOD AUROC",
                "accuracy")  # fmt: skip
CLOSED_COLUMNS = ("accuracy", "ECE", "ECE, scaled", "NLL, scaled", "R@1", "MAP@R")
CALIBRATION_COLUMNS = ("accuracy", "gain", "ECE", "ECE, scaled", "ECE of 2021",
                       "ECE of 2021, scaled", "NLL", "NLL, scaled")  # fmt: skip
THREE = ("arch.params.embedding_dim=3",)
MNIST = ("dataset=mnist", "sampler.n_episodes=57", "mode.epochs=30", "mode.patience=30")
DIGITS = ("sampler.n_episodes=20", "mode.epochs=30", "mode.patience=30")
TASKS = {
    "open": Task(
        OPEN, open_scores, OPEN_COLUMNS, ("R@1",), "cosine softmax", "MAP@R",
        sets={"digits_open": (), "mnist_open": ()},
    ),
    "open pictures": Task(
        OPEN, open_scores, tuple(c for c in OPEN_COLUMNS if c not in ("OOD AUROC", "accuracy")),
        ("R@1",), "cosine softmax", "MAP@R",
        ("dataset.params.open_set=true", "arch=linear", "sampler=m_per_class"),
        {"letters3": ()}, rates=WIDER,
    ),
    "long tail": Task(
        LONG_TAIL, closed_scores, ("accuracy", "few", "ECE", "ECE, scaled", "R@1"),
        ("accuracy", "few"), "balanced softmax", "accuracy", ADAM,
        {"digits_lt": (), "mnist_lt": ("mode.epochs=20",)},
    ),
    "calibration": Task(
        CALIBRATION, closed_scores,
        ("accuracy", "ECE", "ECE, scaled", "NLL", "NLL, scaled"), ("ECE", "ECE, scaled"),
        "cosine softmax", "accuracy", (*THREE, "optimizer=adam"), {"mnist": MNIST},
        {"digits_adam": DIGITS},
    ),
    "calibration by SGD": Task(
        BY_SGD, closed_scores, CALIBRATION_COLUMNS, ("ECE", "ECE, scaled"), "cosine softmax",
        "accuracy", (*THREE, "optimizer=sgd", "mode.weight_decay=0"),
        {"mnist_sgd": MNIST, "digits_sgd": DIGITS}, {},
        FACTORS, PUBLISHED_RATES, (0.001, 0.01, 0.1),
    ),
    "calibration at the rates of MNIST": Task(
        {title: words for title, words in BY_SGD.items() if title != "vMF softmax, auto"},
        closed_scores, CALIBRATION_COLUMNS, ("ECE", "ECE, scaled"), "cosine softmax",
        "accuracy", (*THREE, "optimizer=sgd", "mode.weight_decay=0"), {},
        {"fashion_mnist_sgd": ("dataset=fashion_mnist", *MNIST[1:])},
        rates_of=("calibration by SGD", "mnist_sgd"),
    ),
    "pictures": Task(
        CLOSED, closed_scores, CLOSED_COLUMNS, ("accuracy",), "cosine softmax", "accuracy",
        sets={"glyphs": ()}, rates=WIDER,
    ),
}  # fmt: skip
