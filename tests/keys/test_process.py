"""What a process does to itself first, as a user who is not root: as in the production form."""

import json
import os
import re
import subprocess
import sys

NOBODY = 65534
CHILD = """
import os
from pathlib import Path
from keys.agent.process import forbid_dumps, name_process
os.setuid({uid})
forbid_dumps()
child = os.fork()
if not child:
    name_process("housekeeping")
    print(Path("/proc/self/comm").read_text(), end="", flush=True)
    os._exit(0)
_, status = os.waitpid(child, 0)
raise SystemExit(os.waitstatus_to_exitcode(status))
"""
TURNS = """
import json, os, platform, threading
from keys.agent import process
os.setuid({uid})
os.nice(3)

def own():
    _, get = process._SCHED_CALLS[platform.machine()]
    given = process.ctypes.create_string_buffer(process._SCHED_ATTR.size)
    assert not process._libc.syscall(get, 0, given, process._SCHED_ATTR.size, 0)
    return process._SCHED_ATTR.unpack(given)

said = [own()]
process.take_short_turns()
said.append(own())
thread = threading.Thread(target=lambda: said.append(own()))
thread.start()
thread.join()
print(json.dumps(said))
"""


def test_a_worker_and_the_threads_that_it_starts_give_a_core_up_after_half_a_millisecond() -> None:
    done = subprocess.run(
        [sys.executable, "-c", TURNS.format(uid=NOBODY)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    before, *after = json.loads(done.stdout)
    runtime = 5
    taken = 500_000 if _linux() >= (6, 12) else before[runtime]  # before, the kernel takes none for ordinary threads
    assert after == [[*before[:runtime], taken, *before[runtime + 1 :]]] * 2


def _linux() -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", os.uname().release)
    assert found is not None
    return int(found[1]), int(found[2])


def test_what_is_forked_where_dumps_are_forbidden_shows_its_name_though_proc_is_roots_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(uid=NOBODY)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "housekeeping\n"), done.stderr
