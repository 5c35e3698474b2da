"""`python -m pms_simulators` is `pms-sim`."""

import sys

from pms_simulators.cli import main

sys.exit(main())
