"""A report of a received run: texts are text, images are images, and nothing is requested."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

from tests.evaluation.runs import make_file, make_run
from tests.report.page import Elements, data_of, record, write_report
from vmf_embeddings.cli.report import report
from vmf_embeddings.cli.report_arguments import parse_report
from vmf_embeddings.embeddings import EmbeddingFile, save_embeddings

pytest.importorskip("plotly", reason="pip install 'vmf_embeddings[report]' brings plotly")
HOSTILE = (
    "</script><script>document.title = 'hacked'</script>",
    "<img src=x onerror=alert(1)>",
    "<!--<script>",
    "\u2028alert(1)\u2029",
    '"><a href="https://example.com">a</a>',
    "{{ 7 * 7 }}{% include '/etc/passwd' %}",
    "javascript:alert(1)//' onmouseover='alert(1)",
)
ALLOWED = {
    "a", "article", "b", "body", "br", "button", "canvas", "caption", "details", "div",
    "figcaption", "figure", "h1", "h2", "h3", "head", "header", "html", "img", "li", "main",
    "meta", "nav", "noscript", "ol", "p", "pre", "script", "section", "small", "span", "style",
    "summary", "table", "tbody", "td", "th", "thead", "title", "tr", "ul", "wbr",
}  # fmt: skip


def is_inert(page):
    """Only elements of the template, no handlers, no addresses, six scripts with their data."""
    elements = Elements(page)
    assert {tag for tag, _ in elements.tags} <= ALLOWED
    assert not [key for _, attributes in elements.tags for key in attributes if key[:2] == "on"]
    found = [a[k] for _, a in elements.tags for k in ("src", "href") if a.get(k)]
    assert all(re.match(r"#[a-z]+$|data:image/(webp|jpeg);base64,", one) for one in found)
    assert len(elements.named("script")) == 7
    assert "<!--" not in page.split("<body>")[1].split('id="data"')[0]
    assert not re.search("[\u2028\u2029]", page.split('id="data">')[1].split("</script>")[0])
    return elements


def test_hostile_names_records_and_scores_are_text(tmp_path):
    names = {"class_names": list(HOSTILE[:3]), "train_class_counts": [500, 60, 5]}
    run = make_run(tmp_path, {"name": "cosine"}, **names, method=HOSTILE[4])
    record(run, overrides=json.dumps([*HOSTILE]))
    config = {"name": HOSTILE[0], HOSTILE[1]: {HOSTILE[2]: HOSTILE[3]}}
    (run / ".hydra_train" / "config.yaml").write_text(json.dumps(config))
    (run / "main.train.log").write_text("\n".join(HOSTILE))
    (run / "metrics.csv").write_text(f"epoch,{HOSTILE[1]},train_loss\n0,1,2\n1,2,1\n")
    (run / "status.json").write_text(json.dumps({"state": HOSTILE[0], "error": HOSTILE[1]}))
    entry = {
        "dataset": "toy", "split": "test", "classification": {HOSTILE[1]: 0.5},
        HOSTILE[0]: {f"{HOSTILE[1]}/{HOSTILE[2]}": 0.5},
        f"{HOSTILE[0]}_about": {HOSTILE[4]: [HOSTILE[5], {"a": HOSTILE[6]}]},
        "uncertainty": {"evil/row/auroc": 0.5},
    }  # fmt: skip
    (run / "metrics.json").write_text(json.dumps({"schema": 1, "toy_test.npz": entry}))
    np.savez(run / "toy_test_curves.npz", **{
        "<b>x</b>/y/fpr": np.linspace(0, 1, 5), "<b>x</b>/y/tpr": np.linspace(0, 1, 5),
    })  # fmt: skip
    elements = is_inert(write_report(tmp_path / "page.html", run, "--title", HOSTILE[0]))
    assert "document.title = 'hacked'" in elements.words
    assert "{{ 7 * 7 }}" in elements.words


def test_hostile_names_come_back_from_the_data_as_they_were(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"}, class_names=list(HOSTILE[:3]))
    data = data_of(write_report(tmp_path / "page.html", run))
    assert data["maps"][0]["names"] == list(HOSTILE[:3])


def test_images_elsewhere_are_not_shown(tmp_path):
    (tmp_path / "run").mkdir()
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8), (1, 2, 3)).save(secret)
    own = tmp_path / "run" / "own.png"
    Image.new("RGB", (8, 8), (200, 100, 50)).save(own)
    os.symlink(secret, tmp_path / "run" / "link.png")
    file = make_file({"name": "cosine"})
    paths = [str(secret), str(own), str(tmp_path / "run" / "link.png"), "/etc/passwd"] * 9
    received = EmbeddingFile(
        embeddings=file.embeddings, ids=file.ids, paths=np.array(paths), meta=file.meta
    )
    save_embeddings(tmp_path / "run" / "toy_test.npz", received)
    page = write_report(tmp_path / "page.html", tmp_path / "run")
    elements = is_inert(page)
    shown = {image["alt"].split(", ")[1] for image in elements.named("img")}
    assert len(elements.named("img")) > 0
    assert all("own.png" in name for name in shown)
    assert "could not be shown" in elements.words and "--images-from" in elements.words


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("metrics.json", "[" * 5000),
        ("metrics.json", '{"toy_test.npz": [1]}'),
        ("metrics.json", '{"toy_test.npz": {"dataset": 7}}'),
        ("metrics.csv", "epoch,train_loss\n" + "\x00" * 100),
        ("toy_test_curves.npz", "no archive"),
        ("status.json", "{"),
    ],
)
def test_broken_records_are_left_out(tmp_path, name, content):
    run = make_run(tmp_path, {"name": "cosine"})
    (run / "metrics.json").write_text('{"toy_test.npz": {"dataset": "toy", "split": "test"}}')
    (run / name).write_text(content)
    is_inert(write_report(tmp_path / "page.html", run))


def test_curves_that_hold_objects_are_not_read(tmp_path):
    class Payload:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "marker"),)

    run = make_run(tmp_path, {"name": "cosine"})
    (run / "metrics.json").write_text('{"toy_test.npz": {"dataset": "toy", "split": "test"}}')
    evil = np.array([Payload()], dtype=object)
    np.savez(run / "toy_test_curves.npz", **{"a/b/fpr": evil, "a/b/tpr": evil})
    elements = is_inert(write_report(tmp_path / "page.html", run))
    assert "no curves of scores" in elements.words
    assert not (tmp_path / "marker").exists()


def test_a_link_in_place_of_the_page_is_replaced_and_not_followed(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"})
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    os.symlink(mine, tmp_path / "page.html")
    out = str(tmp_path / "page.html")
    assert report(parse_report([str(run), "-o", out])) == 2
    assert report(parse_report([str(run), "-o", out, "--force"])) == 0
    assert mine.read_text() == "mine" and not os.path.islink(out)


def test_links_in_place_of_records_are_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    run = record(make_run(tmp_path / "run", {"name": "cosine"}))
    secret = tmp_path / "secret"
    secret.write_text("epoch,seekrit\n7,1\n")
    (run / ".hydra_train" / "overrides.yaml").unlink()
    names = ("metrics.csv", "main.train.log", "status.json", ".hydra_train/overrides.yaml")
    for name in names:
        (run / name).unlink(missing_ok=True)
        os.symlink(secret, run / name)
    assert "seekrit" not in is_inert(write_report(tmp_path / "page.html", run)).words


def test_pipes_in_place_of_records_do_not_block(tmp_path):
    run = make_run(tmp_path, {"name": "cosine"})
    for name in ("metrics.csv", "main.train.log", "status.json", "toy_test_curves.npz"):
        os.mkfifo(run / name)
    is_inert(write_report(tmp_path / "page.html", run))
