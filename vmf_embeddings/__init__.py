"""Learn embeddings on the sphere, in the plane or in hyperbolic space, and measure them honestly."""

__version__ = "1.0.0"
