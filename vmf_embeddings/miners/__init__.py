"""Miners: triplets of a batch for criteria that compare three embeddings."""
