"""The one training loop and what it needs: batches, validation, checkpoints, records."""
