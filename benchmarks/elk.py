"""method=elk in an open set: kernels and initial mean cosines, beside softmax and vMF softmax.

python -m benchmarks.elk --out FOLDER
"""

import argparse
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import vmf_embeddings as vmf
from benchmarks.closed_confidence import interval
from benchmarks.metric_learning import VMF
from vmf_embeddings.datasets.digits import DigitsOpen

ELK = ("method=elk", "arch.params.normalize=False")
BASELINE = "softmax on cosines"
ROWS = {
    BASELINE: ("criterion=softmax", "criterion.params.class_lr=0.001"),
    "vMF softmax, auto": (*VMF, "arch.params.kappa_confidence=auto"),
    **{f"elk, {c}": (*ELK, f"arch.params.kappa_confidence={c}") for c in (0.7, 0.4, 0.95)},
}  # fmt: skip
GEOMETRIES = {
    "cosine": "cosine",
    "expected_likelihood": "expected likelihood",
    "vmf": "expected cosine",
}


def result(title: str, seed: int) -> dict:
    """Trains one run, or takes one that is there; retrieves the unseen digits in each geometry."""
    words = ROWS[title]
    name = f"elk_{list(ROWS).index(title)}_{seed}"
    run = vmf.train(
        ["experiment=digits_open", *words, f"random_seed={seed}", f"name={name}"], device="cpu"
    )
    split, method = DigitsOpen(margin_warmup_epochs=0).split("test"), run.module.eval()
    with torch.no_grad():
        rows = torch.arange(len(split)).split(250)
        embeddings = torch.cat([method.embed(split.batch(r)["examples"]) for r in rows])
    labels = np.asarray(split.labels)
    known = GEOMETRIES if method.uses_vmf else {"cosine": "cosine"}
    found = {
        geometry: vmf.evaluate(embeddings.numpy(), labels, ks=[1], geometry=geometry)["retrieval"]
        for geometry in known
    }
    scores = {g: {k: 100 * f[k] for k in ("recall@1", "map@r")} for g, f in found.items()}
    return {"row": title, "seed": seed, "scores": scores, "status": method.status()}


def table(found: list[dict]) -> Iterator[str]:
    """Lines of Markdown: means and standard errors over seeds, differences from the softmax."""
    head = " | ".join(f"R@1, {name} | MAP@R" for name in GEOMETRIES.values())
    yield f"| | {head} | R@1 by cosine minus softmax (95 %) |"
    yield "|---" * (2 + 2 * len(GEOMETRIES)) + "|"
    base = {f["seed"]: f["scores"]["cosine"]["recall@1"] for f in found if f["row"] == BASELINE}
    for title in dict.fromkeys(f["row"] for f in found):
        runs = [f for f in found if f["row"] == title]
        cells = []
        for geometry in GEOMETRIES:
            for name in ("recall@1", "map@r"):
                values = [f["scores"][geometry][name] for f in runs if geometry in f["scores"]]
                spread = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
                cells.append(f"{statistics.fmean(values):.1f} ± {spread:.1f}" if values else "")
        pairs = [
            f["scores"]["cosine"]["recall@1"] - base[f["seed"]] for f in runs if f["seed"] in base
        ]
        mean, half = interval(pairs) if len(pairs) > 1 and any(pairs) else (0.0, 0.0)
        cells.append(f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})" if half else "")
        yield f"| {title} | {' | '.join(cells)} |"


def main() -> int:
    """Runs what is missing, writes elk.jsonl and elk.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="where the table goes")
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    lines = asked.out / "elk.jsonl"
    found = [json.loads(text) for text in lines.read_text().splitlines()] if lines.exists() else []
    known = {(f["row"], f["seed"]) for f in found}
    for seed in asked.seeds:
        for title in ROWS:
            if (title, seed) not in known:
                found.append(result(title, seed))
                with lines.open("a") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    (asked.out / "elk.md").write_text("\n".join(table(found)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
