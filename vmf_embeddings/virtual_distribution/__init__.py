"""The virtual-example distribution of a run: measured, printed, written and drawn."""
