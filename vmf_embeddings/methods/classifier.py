"""Classifier: any head and any loss on the embeddings.

Studies of long-tailed recognition vary these, such as Kang et al. 2020, "Decoupling Representation
and Classifier", https://arxiv.org/abs/1910.09217.
"""

from vmf_embeddings.methods.head_and_loss import HeadAndLoss


class Classifier(HeadAndLoss):
    """Loss of the logits of a head on the embeddings; see `HeadAndLoss` for the arguments."""
