"""Real backends of seals: a SoftHSM token, an OpenBao, and KMS as moto serves it, each with a key and its settings."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer

from tests.openbao import Bao
from tests.ports import free_port

MODULE: Final = "/usr/lib/softhsm/libsofthsm2.so"
PIN: Final = "481516"
_REGION: Final = "eu-central-1"


class SoftHsm:
    """A SoftHSM of its own, with one token."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.tokens, self.pin_file = folder / "tokens", folder / "pin"
        self.tokens.mkdir(parents=True)
        (folder / "softhsm2.conf").write_text(f"directories.tokendir = {self.tokens}\nlog.level = ERROR\n")
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        self.init("vault")
        self.pin_file.touch(0o600)
        self.pin_file.write_text(f"{PIN}\n")

    def init(self, label: str) -> None:
        self._util("--init-token", "--free", "--label", label, "--so-pin", "31415926", "--pin", PIN)

    def _util(self, *arguments: str) -> None:
        subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True, timeout=30)

    def key_file(self) -> Path:
        """Return where the one key of the one token lies."""
        [found] = [path for path in self.tokens.rglob("*.object") if path.name != "token.object"]
        return found

    def config(self, key: str = "root") -> dict[str, str]:
        return {"module": MODULE, "token": "vault", "key": key, "pin_file": str(self.pin_file)}


class Transit:
    """One transit key of an OpenBao, and a token that may use it."""

    def __init__(self, bao: Bao, folder: Path, key: str) -> None:
        self.bao, self.key, self.token_file = bao, key, folder / f"{key}.token"
        bao.call("POST", f"transit/keys/{key}")
        self.token_file.touch(0o600)
        self.token_file.write_text(bao.transit_token(key, "encrypt", "decrypt"))

    def config(self) -> dict[str, str]:
        return {"url": self.bao.url, "mount": "transit", "key": self.key, "token_file": str(self.token_file)}

    def rotate(self) -> None:
        self.bao.call("POST", f"transit/keys/{self.key}/rotate")

    def refuse_before(self, version: int) -> None:
        self.bao.call("POST", f"transit/keys/{self.key}/config", {"min_decryption_version": version})


@contextmanager
def kms(patch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Yield what a key of a served KMS is set to."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "specimen")
    server = ThreadedMotoServer("127.0.0.1", port := free_port(), verbose=False)
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{port}"
        client: Any = boto3.client("kms", region_name=_REGION, endpoint_url=endpoint)
        yield {"key_id": client.create_key()["KeyMetadata"]["KeyId"], "region": _REGION, "endpoint": endpoint}
    finally:
        server.stop()
