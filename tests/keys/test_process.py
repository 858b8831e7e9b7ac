"""What a process does to itself first, as a user who is not root: as in the production form."""

import json
import os
import subprocess
import sys

import pytest

from tests.turns import SHORT

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
import json, os, threading
from keys.agent.process import take_short_turns
from tests.turns import scheduled
os.sched_setscheduler(0, {policy}, os.sched_param({priority}))
os.setuid({uid})
os.nice(3)
said = [scheduled()]
take_short_turns()
said.append(scheduled())
thread = threading.Thread(target=lambda: said.append(scheduled()))
thread.start()
thread.join()
print(json.dumps(said))
"""


@pytest.mark.parametrize(("policy", "priority", "taken"), [
    (os.SCHED_OTHER, 0, SHORT), (os.SCHED_BATCH, 0, SHORT), (os.SCHED_FIFO, 1, 0),
])  # fmt: skip
def test_a_worker_and_the_threads_that_it_starts_give_a_core_up_after_half_a_millisecond(
    policy: int, priority: int, taken: int
) -> None:
    program = TURNS.format(uid=NOBODY, policy=policy, priority=priority)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    before, *after = json.loads(done.stdout)
    assert before[0] == policy
    assert after == [[*before[:2], taken]] * 2


def test_what_is_forked_where_dumps_are_forbidden_shows_its_name_though_proc_is_roots_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(uid=NOBODY)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "housekeeping\n"), done.stderr
