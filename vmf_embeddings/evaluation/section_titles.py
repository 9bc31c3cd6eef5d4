"""Headings of the sections of a table of scores."""

from vmf_embeddings.evaluation.replications import Group

# geometry -> similarity or distance by which its retrieval ranks
COMPARED = {
    "cosine": "cosine",
    "euclidean": "Euclidean distance",
    "poincare": "distance in the Poincare ball",
    "poincare-reference": "2021's distance in the Poincare ball",
    "vmf": "expected cosine, no draws",
    "expected_likelihood": "expected likelihood",
}
SPACES = {
    "as_output": "Embeddings as output, by Euclidean distance",
    "normalised": "L2-normalised embeddings, by cosine",
}


def section_title(section: str, group: Group, samples: int) -> str:
    """The heading of a section of scores.

    Args:
        section: its name.
        group: the files.
        samples: draws per item of sampled scores.
    """
    if section == "sampled_retrieval":
        return f"Retrieval, marginalised over {samples} draws (as in 2021)"
    if section in SPACES:
        return SPACES[section]
    if section == "retrieval":
        sampling = group.scores[0].sampling
        some = "" if sampling is None else f", {sampling['queries_drawn']:,} queries drawn"
        return f"Retrieval by {COMPARED[group.files[0].geometry.name]}{some}{index_of(group)}"
    shots = group.scores[0].shots
    if section == "shots" and shots is not None:
        ranges = [f"{name} {range_}" for name, range_ in shots.thresholds.ranges().items()]
        return f"Classes by training images: {', '.join(ranges)}"
    return "Classification and calibration"


def index_of(group: Group) -> str:
    """Name and lowest recall of the index by which ranks were found, after a comma; else ""."""
    used = [scores.index.recall for scores in group.scores if scores.index is not None]
    if not used:
        return ""
    worst = min(used, key=lambda one: one.recall)
    return f", index {worst.kind}, recall@{worst.k} {worst.recall:.4f}"
