"""A report of small runs, and what is written in it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

from vmf_embeddings.cli.report import report
from vmf_embeddings.cli.report_arguments import parse_report

HISTORY = (
    "epoch,train_loss,valid_loss,valid_metric,learning_rate,temperature,kappa,seconds\n"
    "0,2.3,2.5,0.1,1.0,1.0,5,3\n1,1.1,1.4,0.5,1.0,0.9,,3\n2,0.9,1.2,0.4,0.5,0.8,6,3\n"
)
CONFIG = "name: demo\nmode:\n  name: train\n  learning_rate: {rate}\n"


def write_report(out: Path, *words: object) -> str:
    """The page of a report of some paths."""
    assert report(parse_report([*map(str, words), "-o", str(out)])) == 0
    return out.read_text(encoding="utf-8")


def record(folder: Path, rate: float = 0.1, overrides: str = "- experiment=demo\n") -> Path:
    """A run folder with what a training records."""
    (folder / ".hydra_train").mkdir()
    (folder / ".hydra_train" / "config.yaml").write_text(CONFIG.format(rate=rate))
    (folder / ".hydra_train" / "overrides.yaml").write_text(overrides)
    (folder / "metrics.csv").write_text(HISTORY)
    (folder / "main.train.log").write_text("[2026-01-01][INFO] Training on 36 images\n")
    return folder


def data_of(page: str) -> dict:
    """The JSON that the page's scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    return json.loads(found[1])


class Elements(HTMLParser):
    """Names of the elements of a page with their attributes, and its text without scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._inside: list[str] = []
        self._broken = False  # whether a word goes on after a place where a line may break
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._broken = tag == "wbr"
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._inside and tag == self._inside[-1]:
            self._inside.pop()

    def handle_data(self, data: str) -> None:
        if self._broken and self.text:
            self.text[-1] += data
        elif not self._inside:
            self.text.append(data)
        self._broken = False

    def named(self, name: str) -> list[dict[str, str | None]]:
        """Attributes of every element of a name."""
        return [attributes for tag, attributes in self.tags if tag == name]

    @property
    def words(self) -> str:
        """All text."""
        return " ".join(" ".join(self.text).split())
