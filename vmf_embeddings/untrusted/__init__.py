"""Reading files that others may have made, and writing beside them, without trusting either.

Everything that opens a received file goes through here: configurations, checkpoints, embedding
files, images, archives, tables. Imports nothing else of this package.
"""
