"""The rows of an embedding file with neighbours and places on a map, as `evaluate --table`."""

from pathlib import Path

from vmf_embeddings.embeddings import EmbeddingFile, check_values, read
from vmf_embeddings.evaluation.evaluated_file import EvaluatedFile
from vmf_embeddings.evaluation.options import EvaluationOptions
from vmf_embeddings.evaluation.row_table import write_row_table
from vmf_embeddings.geometry import Geometry
from vmf_embeddings.library.search import geometry_of_meta


def write_table(
    file: EmbeddingFile | str | Path,
    path: str | Path,
    *,
    geometry: str | Geometry | None = None,
    curvature: float | None = None,
    seed: int = 1234,
) -> Path:
    """Writes a `.parquet` of rows to look at in DuckDB, pandas or a viewer of embeddings.

    Args:
        file: embeddings, or the path of a file of them; labels may be unknown.
        path: of the `.parquet`; its folder is created.
        geometry: how rows are compared, by name or as a run's `geometry`; None = as the file
            states, else "cosine".
        curvature: c > 0 of the Poincare ball, where `geometry` is its name.
        seed: of t-SNE, which gives the places of up to 2000 rows on a map.

    Returns:
        The path. Columns: docs/files.md, "Rows to look at".

    Raises:
        ImportError: pyarrow is not installed.
        ValueError: the ending is another one, or the file or the geometry is of no use.

    Example:
        >>> rows = EmbeddingFile([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]], ["cat", "cat", "dog"])
        >>> write_table(rows, "rows.parquet")  # doctest: +SKIP
        PosixPath('rows.parquet')
    """
    path = Path(path)
    if path.suffix != ".parquet":
        raise ValueError(f"path: expected a file .parquet, got {path}")
    source = Path("the embeddings given") if isinstance(file, EmbeddingFile) else Path(file)
    held = file if isinstance(file, EmbeddingFile) else read(file)
    check_values(held)
    how = geometry_of_meta(held.meta, geometry, curvature)
    options = EvaluationOptions(paths=(), seed=seed)
    return write_row_table(EvaluatedFile(source, source, held, how), path, options)
