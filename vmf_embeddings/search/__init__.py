"""Nearest neighbours (torch and faiss give the same result), quantised rows, re-ranking."""

from vmf_embeddings.search.hamming import hamming_nearest
from vmf_embeddings.search.k_reciprocal import KReciprocal
from vmf_embeddings.search.nearest import NearestSearch, check_backend, nearest
from vmf_embeddings.search.quantisation import (
    PRECISIONS,
    Ranges,
    bytes_per_row,
    dequantise,
    quantise,
    signs,
)
from vmf_embeddings.search.quantised import QuantisedGallery, overlap
from vmf_embeddings.search.query_expansion import augment_gallery, expand_queries
from vmf_embeddings.search.reranked import RERANKINGS, nearest_reranked

__all__ = [
    "PRECISIONS",
    "RERANKINGS",
    "KReciprocal",
    "NearestSearch",
    "QuantisedGallery",
    "Ranges",
    "augment_gallery",
    "bytes_per_row",
    "check_backend",
    "dequantise",
    "expand_queries",
    "hamming_nearest",
    "nearest",
    "nearest_reranked",
    "overlap",
    "quantise",
    "signs",
]
