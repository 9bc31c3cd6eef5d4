"""Criteria of deep metric learning: embeddings and labels of a batch -> a number."""
