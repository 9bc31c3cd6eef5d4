"""One linear layer from the feature vectors of another model to embeddings of D dimensions."""

from vmf_embeddings.archs.vectors import VectorArch


class Linear(VectorArch):
    """Vectors x [B, F] -> W x + b [B, D], with x standardized if the data set asks for it."""
