"""The demonstration is a test: it plays over HTTP and checks every claim while it tells it."""

import json
import os
import subprocess
from pathlib import Path

from keys.agent.settings import EMBEDDED
from tests.serving import BIN


def test_the_demonstration_holds_and_the_thief_finds_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "COLUMNS": "120"}
    done = subprocess.run([BIN / "idvault", "demo", "--json"], env=environment, capture_output=True, timeout=120)  # noqa: PLW1510
    assert done.returncode == 0, done.stderr.decode()[-600:]
    assert EMBEDDED in " ".join(done.stderr.decode().split()), "it says what its vault is not"
    told = json.loads(done.stdout)
    titles = [scene["title"] for scene in told["scenes"]]
    assert len(titles) == 9, titles
    thief = told["thief"]
    assert thief["rows"] > 50
    assert thief["values_tried"] > 100
    assert [thief[what] for what in ("names_found", "links_between_providers", "links_to_records")] == [0, 0, 0]
    assert list(tmp_path.iterdir()) == [], "it leaves something behind"
