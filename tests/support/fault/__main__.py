"""The command of `support.fault.command`, in a module that processes of a pool can import."""

import sys

from support.fault.command import main

if __name__ == "__main__":
    sys.exit(main())
