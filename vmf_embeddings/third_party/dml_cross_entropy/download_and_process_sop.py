"""The command of 2021 `python -m …dml_cross_entropy.download_and_process_sop PATH`."""

import sys

from vmf_embeddings.untrusted.import_path import leave_working_directory

if __name__ == "__main__":
    leave_working_directory()
    from vmf_embeddings.datasets.prepare.command import main
    from vmf_embeddings.datasets.prepare.sop import SOP

    sys.exit(main(SOP))
