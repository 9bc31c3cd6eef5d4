"""Many scored runs side by side: a table, how scores go together, and pictures of it."""
