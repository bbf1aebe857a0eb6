"""`python -m taskapi COMMAND`; see `cli.py`."""

import sys

from taskapi import cli

if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
