"""Scripts of 2021 under their old names; each calls the code that replaces it."""
