"""What each key-holding process does to itself first, and how it says what went wrong: events, never values."""

import ctypes
import gc
import json
import os
import platform
import resource
import signal
import struct
import sys
import time
import traceback
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NAME: Final = 15
"""prctl(2), linux/prctl.h"""
_NEW_OBJECTS: Final = 70_000
"""Containers made before the collector looks at them; 700 by default (gc, Python's library reference)."""
_TURN_SECONDS: Final = 0.0005
"""How long a thread that computes goes on while another waits; 5 ms by default (sys.setswitchinterval)."""
_M_ARENA_MAX: Final = -8
"""malloc.h of the GNU C library"""
_SCHED_CALLS: Final = {"x86_64": (314, 315), "aarch64": (274, 275), "riscv64": (274, 275)}
"""The numbers of sched_setattr(2) and sched_getattr(2), which the C library has no functions for, by machine."""
_SCHED_ATTR: Final = struct.Struct("=IIQiIQQQ")
"""size, policy, flags, nice, priority, runtime, deadline, period (linux/sched/types.h, SCHED_ATTR_SIZE_VER0)"""
_SLICE_NANOSECONDS: Final = 500_000
"""How long a thread computes before another that waits for the core has it; some 3 ms by default on two cores."""
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int) -> None:
    """Be killed when the parent ends, however it ends; `parent` is its pid, in case it ended just now."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def name_process(name: str) -> None:
    """Show a name of up to 15 bytes where processes are listed (proc(5), /proc/pid/comm); for the main thread.

    Not by writing that file: it is root's once dumps are forbidden, also in what is forked afterwards.
    """
    _libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)


def forbid_dumps() -> None:
    """No core file, no ptrace or /proc/pid/mem by others of the same uid."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def settle_interpreter() -> None:
    """Set what the interpreter does beside the work: its collector, its memory, and whose turn it is.

    The collector leaves what there is by now alone, and looks for cycles among new objects a hundredth as often.

    An act on a batch makes many thousands that live until its end, none of them a cycle, and was looked through again
    and again: a fifth of its time. What is shared with a forked process is not copied by being looked at, either.
    Threads share one arena (mallopt(3)): of the interpreter's one at a time allocates, so that more would hold memory
    for nothing. A thread that waits for its turn beside one that computes waits a tenth as long as by default: it may
    be the one that holds a store's write lock, or leads a group.
    """
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_ARENA_MAX, 1)
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS)
    sys.setswitchinterval(_TURN_SECONDS)


def take_short_turns() -> None:
    """Have this thread, and those that it starts from now on, give a core up sooner where others wait for it.

    With Linux 6.12 and later, which take a slice for ordinary threads (sched(7), `sched_runtime`); no other setting is
    changed, and elsewhere nothing. It costs rate and saves waiting: for those who answer many short requests.
    """
    put, get = _SCHED_CALLS.get(platform.machine(), (0, 0))
    given = ctypes.create_string_buffer(_SCHED_ATTR.size)
    if not get or _libc.syscall(get, 0, given, _SCHED_ATTR.size, 0):
        return
    size, policy, flags, nice, priority, _, deadline, period = _SCHED_ATTR.unpack(given)
    if policy in {os.SCHED_OTHER, os.SCHED_BATCH}:  # of others the runtime says something else
        _libc.syscall(
            put, 0, _SCHED_ATTR.pack(size, policy, flags, nice, priority, _SLICE_NANOSECONDS, deadline, period), 0
        )


def log(event: str, **fields: str | int) -> None:
    """Write one line to standard error; the fields are the caller's constants, kinds and counts."""
    line = {"time": int(time.time()), "event": event, **fields}
    sys.stderr.write(json.dumps(line) + "\n")
    sys.stderr.flush()


def log_failure(event: str, error: BaseException, **fields: str | int) -> None:
    """Log an unexpected failure by type and place; its text may hold values and is not written."""
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = f"{os.path.basename(last[0].filename)}:{last[0].lineno}" if last else "?"  # noqa: PTH119
    log(event, error=type(error).__name__, place=place, **fields)
