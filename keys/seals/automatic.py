"""The seals that open without anybody, by a key elsewhere: each call in a process of its own, which ends with it.

So a driver of a vendor's never shares a process with the keyring, a server that answers for ever is ended with the
child, and each call begins with a fresh session: what was lost of the last one does no harm. The key passes a pipe.
"""

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keys.errors import SealError, SealUnreachableError
from keys.primitives import KEY_BYTES
from keys.seals.configs import AUTOMATIC, check_config

SECONDS: Final = 20.0
"""How long one call may take."""
_ERRORS: Final[Mapping[str, type[SealError]]] = {one.kind: one for one in (SealError, SealUnreachableError)}


@dataclass(frozen=True, slots=True)
class Automatic:
    """A backend that opens without anybody.

    Raises:
        SealError: it is set to something that it does not take.
    """

    kind: str
    config: Mapping[str, Any]
    create: bool = False
    """Whether a key that is not there is made, where the backend can."""
    seconds: float = SECONDS

    def __post_init__(self) -> None:
        """Check what it is set to."""
        if self.kind not in AUTOMATIC:
            raise SealError(f"seal: one of {', '.join(sorted(AUTOMATIC))}")
        check_config(self.kind, self.config)

    def wrap(self, root: bytes, context: bytes) -> str:
        """Return the wrapped key, in the backend's own form.

        Raises:
            SealError: refused; SealUnreachableError where it may be tried again.
        """
        return self._ask("wrap", base64.b64encode(root).decode(), context)

    def unwrap(self, wrapped: str, context: bytes) -> bytes:
        """Return what was wrapped.

        Raises:
            SealError: refused; SealUnreachableError where it may be tried again.
        """
        try:
            root = base64.b64decode(self._ask("unwrap", wrapped, context), validate=True)
        except ValueError:
            root = b""
        if len(root) != KEY_BYTES:
            raise SealError(f"{self.kind}: gave no key; nothing was opened")
        return root

    def _ask(self, do: str, value: str, context: bytes) -> str:
        request = {
            "do": do, "seal": self.kind, "config": dict(self.config), "value": value,
            "context": base64.b64encode(context).decode(), "create": self.create,
        }  # fmt: skip
        try:
            done = subprocess.run(
                [sys.executable, "-m", "keys.seals.driver"], input=json.dumps(request).encode(),
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=self.seconds, check=False,
            )  # fmt: skip
            answer = json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise SealUnreachableError(f"{self.kind}: no answer in {self.seconds:.0f} seconds") from None
        except (OSError, ValueError):
            raise SealUnreachableError(f"{self.kind}: its driver ended without an answer") from None
        if "ok" in answer:
            return str(answer["ok"])
        raise _ERRORS.get(answer.get("error"), SealError)(str(answer.get("message", "")))
