"""The confidences that a file offers for each of its rows, larger = surer."""

from collections.abc import Iterator

import torch
from torch import Tensor

from vmf_embeddings.evaluation.companions import companion_beside
from vmf_embeddings.evaluation.context import Context
from vmf_embeddings.metrics.confidence import logit_confidences
from vmf_embeddings.metrics.ood import ClassMeans
from vmf_embeddings.metrics.pair_roc import rounded
from vmf_embeddings.search import nearest

_FIRST_NEIGHBOURS = 8  # among which a row of another class is looked for before it is searched for
_BLOCK_ROWS = 4096


def confidences(context: Context) -> dict[str, Tensor]:
    """Every confidence of the rows of a file by name, float64 [N]; NaN for rows without it.

    The one that the file stores, such as `inverse_predicted_loss`; `kappa`, `norm` or
    `distance_to_origin` from the length of a row; of logits `max_probability`, `negative_entropy`,
    `probability_margin`, `max_logit`, `energy`, and with draws `negative_information`; of
    neighbours `nearest_similarity` and `neighbour_margin`; and `class_mean_cosine` where the
    training file lies beside. docs/metrics.md defines them.
    """
    return {
        name: values
        for group in (_stored, _of_length, _of_logits, _of_neighbours, _of_training)
        for name, values in group(context)
    }


def _stored(context: Context) -> Iterator[tuple[str, Tensor]]:
    confidence = context.file.confidence
    if confidence is not None:
        name = str(context.evaluated.meta("confidence_name") or "confidence")
        yield name, torch.from_numpy(confidence).double()


def _of_length(context: Context) -> Iterator[tuple[str, Tensor]]:
    geometry = context.evaluated.geometry
    rows = torch.from_numpy(context.file.embeddings)
    yield (
        geometry.confidence_name,
        torch.cat([geometry.confidence(part.double()) for part in rows.split(_BLOCK_ROWS)]),
    )


def _of_logits(context: Context) -> Iterator[tuple[str, Tensor]]:
    classified, logits = context.classified, context.file.logits
    if classified is None or logits is None:
        return
    for name, values in logit_confidences(logits[classified.rows]).items():
        every = torch.full((len(context.file.ids),), torch.nan, dtype=torch.float64)
        every[torch.from_numpy(classified.rows)] = values
        yield name, every


def _of_neighbours(context: Context) -> Iterator[tuple[str, Tensor]]:
    """Similarity of the nearest row, and how much nearer it is than any row of another class.

    Another class than that of the nearest row: the query's own class is not used.
    """
    found = context.neighbours(min(_FIRST_NEIGHBOURS, max(1, len(context.pairs.gallery))))
    ids = torch.from_numpy(context.file.ids)
    classes = torch.where(found.numbers >= 0, ids[found.numbers.clamp_min(0)], -1)
    first = found.similarities[:, 0]
    others = (classes != classes[:, :1]) & (found.numbers >= 0)
    other = torch.where(others, found.similarities, -torch.inf).amax(1)
    unknown = ~others.any(1) & (found.numbers[:, 0] >= 0)
    other[unknown] = _nearest_of_others(context, found.queries[unknown], classes[unknown, 0])
    # tied rows must not differ in the last bits: nothing would be as sure as anything else
    first, other = (_to_equal(values) for values in (first, other))
    for name, values in (("nearest_similarity", first), ("neighbour_margin", first - other)):
        every = torch.full((len(ids),), torch.nan, dtype=torch.float64)
        every[found.queries] = values
        yield name, every


def _to_equal(similarities: Tensor) -> Tensor:
    """Similarities by which those of tied rows are equal; NaN where there is none, -inf."""
    return torch.full_like(similarities, torch.nan).masked_scatter_(
        similarities.isfinite(), rounded(similarities[similarities.isfinite()])
    )


def _nearest_of_others(context: Context, queries: Tensor, classes: Tensor) -> Tensor:
    """Similarity [q] of the nearest gallery row that is not of a class; -inf where there is none.

    Args:
        context: the file.
        queries: [q] row numbers.
        classes: [q] the class that is left out for each.
    """
    found = torch.full((len(queries),), -torch.inf, dtype=torch.float64)
    rows, gallery, exclude = context.rows, context.pairs.gallery, context.pairs.exclude
    ids, geometry = torch.from_numpy(context.file.ids), context.evaluated.geometry
    line = torch.full((len(ids),), -1).scatter_(
        0, context.pairs.queries, torch.arange(len(context.pairs.queries))
    )
    for number in classes.unique().tolist():
        kept = (ids[gallery] != number).nonzero().squeeze(1)
        if not len(kept):
            continue
        place = torch.full((len(gallery) + 1,), -1).scatter_(0, kept, torch.arange(len(kept)))
        own = (classes == number).nonzero().squeeze(1)
        found[own] = nearest(
            rows[queries[own].to(rows.device)],
            rows[gallery[kept].to(rows.device)],
            1,
            similarity=geometry.similarity,
            metric=geometry.faiss_metric,
            exclude=place[exclude[line[queries[own]]]].to(rows.device),
            backend=context.options.search,
        )[1][:, 0].cpu()
    return found


def _of_training(context: Context) -> Iterator[tuple[str, Tensor]]:
    """The largest cosine with a mean of the unit rows of a training class."""
    train = companion_beside(context.evaluated, "train")
    if train is None or train.file.ids is None:
        return
    means = ClassMeans.fit(train.embeddings, train.file.ids)
    yield "class_mean_cosine", means.cosine(context.file.embeddings)
