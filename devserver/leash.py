"""Run a program that cannot outlive its parent:

    python leash.py PARENT_PID SIGNAL UID:GID|- PROGRAM [ARGUMENT...]

Where the kernel offers it (Linux), PROGRAM gets SIGNAL when its parent PARENT_PID ends, however
that ends. With UID:GID it runs as that user, but still reaches files below folders that are closed
to it: PostgreSQL refuses to run as root, and opening folders to everybody is not ours to do.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

PR_SET_PDEATHSIG, PR_SET_SECUREBITS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE = 1, 28, 47, 2
SECBIT_NO_SETUID_FIXUP = 4  # else setuid takes every capability, and access(2) ignores them
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522


def leashed(command: Sequence[str], signal_name: str, user: str = "-") -> list[str]:
    """`command`, wrapped so that it gets the signal when the thread that starts it ends."""
    return [sys.executable, "-I", __file__, str(os.getpid()), signal_name, user, *command]


def main(parent: str, signal_name: str, user: str, *command: str) -> None:
    """Become `command`."""
    libc = ctypes.CDLL(None)
    if user != "-":
        uid, gid = map(int, user.split(":"))
        _give_up_root(libc, uid, gid)
    if sys.platform == "linux":  # after the change of user, which would clear it
        libc.prctl(PR_SET_PDEATHSIG, signal.Signals[signal_name], 0, 0, 0)
    if os.getppid() == int(parent):  # else it ended before the line above
        os.execvp(command[0], command)


def _give_up_root(libc: ctypes.CDLL, uid: int, gid: int) -> None:  # pragma: no cover
    """Become the user for good, keeping the capability to pass closed folders where root has it."""
    if sys.platform == "linux":
        libc.prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setregid(gid, gid)
    os.setreuid(uid, uid)
    if sys.platform == "linux":
        mask = 1 << CAP_DAC_OVERRIDE
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3)
        libc.capset(header, (ctypes.c_uint32 * 6)(mask, mask, mask))
        libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_DAC_OVERRIDE, 0, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
