"""The units under a real systemd, set up by the steps of `docs/operations.md`, in namespaces of their own.

Needs root, a kernel with overlayfs and a hierarchy of control groups that may be written. It changes nothing of the
machine: `systemd/boot` says what it does.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full_only, pytest.mark.sqlite]

BOOT = Path(__file__).with_name("systemd") / "boot"
SECONDS = 240
UNITS = ("agent", "directory", "identity", "sequencer")


def test_the_units_start_serve_come_back_and_stop_under_systemd(tmp_path: Path) -> None:
    assert os.geteuid() == 0, "this test makes namespaces and mounts: run it as root"
    command = [
        "unshare", "--mount", "--propagation", "private", "--fork", "--kill-child", str(BOOT), str(tmp_path),
        str(BOOT.parents[2]), sys.base_prefix, sysconfig.get_path("purelib"),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    said = dict(line.split(": ", 1) for line in done.stdout.splitlines() if ": " in line)
    expected = {
        "directory ready": "200", "identity ready": "200", "provider added": "yes", "checkpoint": "200",
        "housekeeping stays": "yes", "ready after the agent's restart": "200", "ready after kill -9": "200",
        "tracebacks": "0",
    }  # fmt: skip
    for unit in UNITS:
        expected |= {f"idvault-{unit}": "active", f"idvault-{unit} stopped": "success"}
    assert {name: said.get(name) for name in expected} == expected, (done.stdout + done.stderr)[-3000:]
