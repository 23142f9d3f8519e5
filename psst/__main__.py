"""``python -m psst`` is ``psst``."""

import sys

from psst.cli import main

sys.exit(main())
