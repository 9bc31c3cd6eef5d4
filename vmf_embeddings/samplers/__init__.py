"""Samplers: from labels to batches of indices, reproducible per (seed, epoch)."""
