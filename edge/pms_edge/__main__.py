"""`python -m pms_edge` is `pms-edge`."""

import sys

from pms_edge.cli import main

sys.exit(main())
