"""Data sets: one file per way of reading, each giving immutable train, valid and test splits."""
