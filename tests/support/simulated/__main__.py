"""The command of `support.simulated.command`."""

import sys

from support.simulated.command import main

if __name__ == "__main__":
    sys.exit(main())
