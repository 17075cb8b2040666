"""``python recipe/sd_mini``: makes the folder a package that can be run, then trains."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sd_mini.train import main

if __name__ == "__main__":
    sys.exit(main())
