"""Doors of the prepare scripts, at the names of 2021."""
