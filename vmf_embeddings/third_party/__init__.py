"""Thin doors for the commands of 2021; the work is done elsewhere in the package."""
