"""The command of 2021 `python -m …dml_cross_entropy.download_and_process_cars196 PATH`."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory

if __name__ == "__main__":
    leave_working_directory()
    from vmf_embeddings.datasets.prepare.cars196 import CARS196
    from vmf_embeddings.datasets.prepare.command import main

    sys.exit(main(CARS196))
