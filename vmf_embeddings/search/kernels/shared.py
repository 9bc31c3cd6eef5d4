"""Compiled: sums of the smaller one of two sparse rows' values, of each query with every row."""

import numpy as np

from vmf_embeddings import native


@native.compiled()
def add_least(
    queries: np.ndarray,
    starts: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    column_starts: np.ndarray,
    rows: np.ndarray,
    row_values: np.ndarray,
    shared: np.ndarray,
) -> None:
    """Add sum_c min(V_ic, V_jc) of each query i and row j of a sparse matrix V [N, N].

    Args:
        queries: [Q] numbers of rows.
        starts: [N + 1] where each row begins in `columns` and `values`.
        columns: columns of the entries, by row.
        values: values of the entries, by row.
        column_starts: [N + 1] where each column begins in `rows` and `row_values`.
        rows: rows of the entries, by column.
        row_values: values of the entries, by column.
        shared: [Q, N], added to.
    """
    for place in range(len(queries)):
        query, line = queries[place], shared[place]
        for entry in range(starts[query], starts[query + 1]):
            column, value = columns[entry], values[entry]
            for other in range(column_starts[column], column_starts[column + 1]):
                line[rows[other]] += min(value, row_values[other])
