"""Door of 2021: `python -m …dml_cross_entropy.download_and_process_sop PATH`."""

import sys

from vmf_embeddings.datasets.prepare.door import main
from vmf_embeddings.datasets.prepare.sop import SOP

if __name__ == "__main__":
    sys.exit(main(SOP))
