"""Exact k nearest neighbours: one function, two backends (torch, faiss), the same answer."""

from vmf_embeddings.search.nearest import NearestSearch, nearest

__all__ = ["NearestSearch", "nearest"]
