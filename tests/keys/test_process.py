"""What a process does to itself first, as a user who is not root: as in the production form."""

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


def test_what_is_forked_where_dumps_are_forbidden_shows_its_name_though_proc_is_roots_there() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD.format(uid=NOBODY)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "housekeeping\n"), done.stderr
