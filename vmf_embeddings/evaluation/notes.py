"""Notes below a table of scores: what restricts how its numbers may be read."""

from vmf_embeddings.evaluation.indexed import note_on_index
from vmf_embeddings.evaluation.replications import Group
from vmf_embeddings.evaluation.rows import notes_on_rows
from vmf_embeddings.metrics.shots import GROUPS


def notes_on(group: Group) -> list[str]:
    """Every note that applies to a group of files, without the full stop."""
    notes = (
        _notes_on_selection, _notes_on_shots, _notes_on_gallery, _notes_on_sampling,
        _notes_on_index, _notes_on_queries, _notes_on_rows, _notes_on_clusters, _notes_on_compact,
    )  # fmt: skip
    return [*group.notes(), *(note for find in notes for note in find(group))]


def _notes_on_selection(group: Group) -> list[str]:
    evaluated = group.files[0]
    if evaluated.meta("selected_on") is None or evaluated.selected_on != evaluated.split:
        return []
    return [
        f"best on {evaluated.split}: the epoch was chosen by the split that is scored here, "
        "which biases these scores upwards"
    ]


def _notes_on_shots(group: Group) -> list[str]:
    shots = group.scores[0].shots
    empty = [name for name in GROUPS if shots is not None and name not in shots.groups]
    return [f"there is no class with {name} training images to score" for name in empty]


def _notes_on_gallery(group: Group) -> list[str]:
    file = group.files[0].file
    if "retrieval" not in group.sections() or (file.is_query is None and file.is_gallery is None):
        return []
    n_rows = len(file.ids)
    queries, gallery = (
        n_rows if mask is None else int(mask.sum()) for mask in (file.is_query, file.is_gallery)
    )
    rest = f"; clusters, spectrum and spread are of all {n_rows:,} rows"
    spaces = rest if group.scores[0].spaces is not None else ""
    return [f"{queries:,} queries are compared with {gallery:,} gallery rows{spaces}"]


def _notes_on_sampling(group: Group) -> list[str]:
    sampling = group.scores[0].sampling
    if sampling is None:
        return []
    return [
        f"{sampling['queries_drawn']:,} of {sampling['queries']:,} queries, drawn with seed "
        f"{sampling['seed']}, are compared with the whole gallery; the sampling error is that of "
        "this draw, not of other classes; --queries all takes all of them"
    ]


def _notes_on_index(group: Group) -> list[str]:
    used = [scores.index for scores in group.scores if scores.index is not None]
    return list(dict.fromkeys(map(note_on_index, used)))


def _notes_on_queries(group: Group) -> list[str]:
    counts = [scores.n_without_positive for scores in group.scores if scores.n_without_positive]
    if not counts:
        return []
    return [
        f"{max(counts)} queries have no other row of their class: they count as misses in Recall@k "
        "and are left out of MAP@R"
    ]


def _notes_on_rows(group: Group) -> list[str]:
    return notes_on_rows([scores.rows for scores in group.scores])


def _notes_on_clusters(group: Group) -> list[str]:
    spaces = group.scores[0].spaces
    found = None if spaces is None else spaces.clustering
    if found is None or found.n_rows == found.n_rows_in_all:
        return []
    return [
        f"NMI and F1 over {found.n_rows:,} of {found.n_rows_in_all:,} rows: {found.n_clusters:,} "
        f"of {found.n_classes_in_all:,} classes, drawn at random with seed {found.seed}; "
        "--nmi-all-rows takes all, as published results do"
    ]


def _notes_on_compact(group: Group) -> list[str]:
    """What limits scores of shorter and coarser embeddings and of re-ranking, each note once."""
    found = [part for scores in group.scores for part in scores.tables.values()]
    return list(dict.fromkeys(note for part in found for note in part.notes))
