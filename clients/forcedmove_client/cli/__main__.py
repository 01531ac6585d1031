"""``python -m forcedmove_client.cli``."""

import sys

from forcedmove_client.cli import main

sys.exit(main())
