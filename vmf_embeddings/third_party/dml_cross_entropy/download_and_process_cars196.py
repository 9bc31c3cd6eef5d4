"""Door of 2021: `python -m …dml_cross_entropy.download_and_process_cars196 PATH`."""

import sys

from vmf_embeddings.datasets.prepare.cars196 import CARS196
from vmf_embeddings.datasets.prepare.door import main

if __name__ == "__main__":
    sys.exit(main(CARS196))
