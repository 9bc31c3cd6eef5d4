"""What is nearest: exact k nearest neighbours (torch, faiss: the same answer), and exact ranks."""

from vmf_embeddings.search.nearest import NearestSearch, check_backend, nearest

__all__ = ["NearestSearch", "check_backend", "nearest"]
