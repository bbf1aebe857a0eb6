"""`python -m taskapi COMMAND`: what an operator asks of an installation."""

import argparse
import json
import os
import sys
from dataclasses import asdict

from taskapi import doctor
from taskapi.config import ConfigError, load


def main(arguments: list[str]) -> int:
    """Return the exit code: 0 when nothing failed, 1 when something did, 2 for bad settings."""
    asked = _parser().parse_args(arguments)
    try:
        found = list(doctor.examine(load(os.environ)))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if asked.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in found], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{finding}\n" for finding in found)
    return int(any(finding.status == doctor.Status.FAIL for finding in found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m taskapi", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    examination = commands.add_parser("doctor", help="check all that the service needs")
    examination.add_argument("--json", action="store_true", help="print a list for programs")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
