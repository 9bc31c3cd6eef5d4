"""Commands that download, verify and extract the retrieval benchmarks, and write their lists."""
