"""Exact nearest neighbours (torch and faiss give the same result) and exact retrieval ranks."""

from vmf_embeddings.search.nearest import NearestSearch, check_backend, nearest

__all__ = ["NearestSearch", "check_backend", "nearest"]
