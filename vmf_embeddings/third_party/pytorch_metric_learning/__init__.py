"""The metric scripts of 2021 by their old names: thin doors to `vmf_embeddings.evaluation`."""
