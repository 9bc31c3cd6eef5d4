"""Losses: from the logits of a batch to a number; one file per loss."""
