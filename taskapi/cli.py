"""Commands for operators: `python -m taskapi doctor`, `check [--repair]` and `restore FILE`."""

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from taskapi import doctor, logs
from taskapi.config import ConfigError, Settings, load
from taskapi.errors import Stale, TaskApiError
from taskapi.sync import import_backup


def main(arguments: list[str]) -> int:
    """Run a command; return 0 for success, 1 for a problem, 2 for unusable settings.

    `check` also returns 2 if it cannot compare the stores.
    """
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(load(os.environ), options)
        sys.stdout.flush()
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BrokenPipeError:  # the other end of the pipe is closed: `doctor | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m taskapi", description=__doc__)
    commands = parser.add_subparsers(required=True)
    examine = commands.add_parser("doctor", help="check everything that the service needs")
    examine.add_argument("--json", action="store_true", help="print JSON")
    examine.set_defaults(run=_doctor)
    check = commands.add_parser("check", help="compare all data in Redis and PostgreSQL")
    check.add_argument("--repair", action="store_true", help="repair what can be repaired")
    check.set_defaults(run=_check)
    restore = commands.add_parser("restore", help="restore an empty installation from a backup")
    restore.add_argument("file", type=Path, help="a file written by action=backup")
    restore.set_defaults(run=_restore)
    return parser


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    findings = list(doctor.examine(settings))
    if options.json:
        sys.stdout.write(json.dumps([asdict(finding) for finding in findings], indent=2) + "\n")
    else:
        sys.stdout.writelines(f"{finding}\n" for finding in findings)
    return int(any(finding.status == doctor.Status.FAIL for finding in findings))


def _check(settings: Settings, options: argparse.Namespace) -> int:
    """Print what differs; return 1 if something does, 2 if the stores cannot be compared."""
    try:
        lines, number = doctor.check(settings, repairs=options.repair)
    except (TaskApiError, Stale) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return int(number > 0)


def _restore(settings: Settings, options: argparse.Namespace) -> int:
    """Restore both stores, which must be empty or new."""
    logs.configure(settings.log_format)
    try:
        import_backup.run(settings, options.file)
    except TaskApiError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0
