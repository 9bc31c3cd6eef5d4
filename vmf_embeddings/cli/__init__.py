"""The commands: everything that knows Hydra or the argument vector."""
