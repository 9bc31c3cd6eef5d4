"""Reading files that may come from untrusted sources, and writing next to them.

Everything that opens a received file goes through here: configurations, checkpoints, embeddings,
images, archives, tables. Imports nothing else of `vmf_embeddings`.
"""
