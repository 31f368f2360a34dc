"""Starts bpftrace in a mount namespace of its own, where the kernel's tracing files are mounted for it alone.

    python -m sandbox.observe.tracer_entry bpftrace ARGUMENTS…

The machine's own mounts stay as they are. When the launcher dies, the kernel ends the tracer.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from sandbox.mounts import libc

_CLONE_NEWNS, _MS_REC, _MS_PRIVATE = 0x20000, 0x4000, 0x40000
_PR_SET_PDEATHSIG = 1
TRACING = ((b"debugfs", b"/sys/kernel/debug"), (b"tracefs", b"/sys/kernel/debug/tracing"))


def enter(command: list[str]) -> None:
    """Become `command`; what cannot be mounted is left for bpftrace to complain about."""
    library = libc()
    library.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if library.unshare(_CLONE_NEWNS) == 0:
        library.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None)
        for kind, place in TRACING:
            if not os.access(place + b"/tracing" if kind == b"debugfs" else place + b"/events", os.F_OK):
                library.mount(kind, place, kind, ctypes.c_ulong(0), None)
    os.execvp(command[0], command)  # noqa: S606 (no shell)


if __name__ == "__main__":
    enter(sys.argv[1:])
