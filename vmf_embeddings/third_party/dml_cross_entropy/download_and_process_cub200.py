"""Door of 2021: `python -m …dml_cross_entropy.download_and_process_cub200 PATH`."""

import sys

from vmf_embeddings.datasets.prepare.cub200 import CUB200
from vmf_embeddings.datasets.prepare.door import main

if __name__ == "__main__":
    sys.exit(main(CUB200))
