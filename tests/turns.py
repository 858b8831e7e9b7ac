"""How long a thread computes before another has its core: sched_getattr(2), which the C library has no function for."""

import ctypes
import os
import platform
import struct
from typing import Final

_GET: Final = {"x86_64": 315}.get(platform.machine(), 275)
_ATTR: Final = struct.Struct("=IIQiIQQQ")
_LINUX: Final = tuple(int(part) for part in os.uname().release.split(".")[:2])
SHORT: Final = 500_000 if _LINUX >= (6, 12) else 0
"""What a worker takes, in nanoseconds; earlier kernels take none for ordinary threads."""


def scheduled(thread: int = 0) -> tuple[int, int, int]:
    """Return policy, nice value and slice of a thread, by default of this one."""
    given = ctypes.create_string_buffer(_ATTR.size)
    assert not ctypes.CDLL(None).syscall(_GET, thread, given, _ATTR.size, 0)
    _, policy, _, nice, _, runtime, _, _ = _ATTR.unpack(given)
    return policy, nice, runtime
