"""Heads: from embeddings to the logits of the classes; one file per head."""
