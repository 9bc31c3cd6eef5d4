"""What commands do, as functions on arrays; `vmf_embeddings` itself exports them."""
