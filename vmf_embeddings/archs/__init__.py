"""Backbones: images in, embeddings out."""
