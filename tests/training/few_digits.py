"""A small part of the digits, and configurations that train on it in a second."""

from tests.cli.test_second_stage import composed
from vmf_embeddings.cli import app
from vmf_embeddings.datasets.digits import Digits, read_digits

NET = ["arch=n_digit_mnist", "arch.params.embedding_dim=8", "trainer.cpu=true", "trainer.threads=1"]
TRAINING = [
    *NET,
    *("dataset=digits", "sampler=random", "sampler.batch_size=32", "num_workers=0"),
    *("mode.learning_rate=0.05", "mode.momentum=0.9", "schedule=constant", "mode.patience=99"),
]


class FewDigits(Digits):
    """Every eighth digit: 179 training images of the official part, 10 classes."""

    def _read(self, part):
        images, labels = read_digits()
        chosen = slice(part == "test", None, 8)
        return images[chosen], labels[chosen]


def few_digits(views=1):
    return FewDigits(margin_warmup_epochs=0, views=views)


def trained(folder, *overrides, views=1):
    """Trains in `folder`, from its last checkpoint if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    base = [key for key in TRAINING if not key.startswith("sampler.batch_size")]
    sized = "sampler=episodic" not in overrides  # its batches consist of classes and images of each
    cfg = composed([*(TRAINING if sized else base), *overrides])
    return app.train(cfg, folder, few_digits(views))
