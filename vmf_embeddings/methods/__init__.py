"""Objectives: a backbone, class parameters and a loss on embeddings; one file per method."""
