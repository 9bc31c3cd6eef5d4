"""Tests of the mathematics of the sphere."""
