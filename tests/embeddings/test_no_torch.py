"""Embeddings are read, opened and written without torch, and by what their format needs alone."""

import subprocess
import sys

import numpy as np
import pytest

import vmf_embeddings as vmf

HEAVY = ("torch", "pandas", "scipy", "sklearn", "matplotlib", "numba", "yaml", "safetensors")


@pytest.mark.parametrize("ending", [".npz", ".npy", ".csv", ".parquet", ".safetensors"])
def test_reading_and_writing_import_nothing_that_is_not_needed(tmp_path, ending):
    path = tmp_path / f"a{ending}"
    vmf.write(vmf.EmbeddingFile(np.eye(3), ["a", "b", "c"]), path)
    unwanted = (*HEAVY, *(() if ending == ".parquet" else ("pyarrow",)))
    code = (
        "import sys, vmf_embeddings as vmf\n"
        "from vmf_embeddings.embeddings import open_embeddings\n"
        f"path = {str(path)!r}\n"
        "vmf.write(vmf.read(path), path)\n"
        "assert open_embeddings(path).embeddings.shape == (3, 3)\n"
        f"print([name for name in {unwanted!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
