"""Embeddings on the sphere, in the plane, in hyperbolic space: learned, and measured honestly."""

__version__ = "1.0.0"
