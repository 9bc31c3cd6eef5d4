"""The metric scripts of 2021 under their old names."""
