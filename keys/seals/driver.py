"""python -m keys.seals.driver: one call of an automatic seal's backend, in a process of its own.

standard input    {"do": wrap|unwrap, "seal", "config", "value", "context", "create"}      JSON
standard output   {"ok": value}  or  {"error": kind, "message"}
"""

import base64
import json
import sys
from collections.abc import Mapping
from typing import Any, Final

from keys.agent.process import forbid_dumps
from keys.errors import KeysError
from keys.seals import aws_kms, pkcs11, transit
from keys.seals.configs import AWS_KMS, PKCS11, TRANSIT

_MODULES: Final[Mapping[str, Any]] = {PKCS11: pkcs11, TRANSIT: transit, AWS_KMS: aws_kms}


def _answered(request: Mapping[str, Any]) -> str:
    module, context = _MODULES[request["seal"]], base64.b64decode(request["context"])
    if request["do"] == "unwrap":
        return base64.b64encode(module.unwrap(request["config"], request["value"], context)).decode()
    root = base64.b64decode(request["value"])
    return str(module.wrap(request["config"], root, context, create=request["create"]))


def main() -> None:
    """Answer the one request on standard input."""
    forbid_dumps()
    try:
        answer = {"ok": _answered(json.load(sys.stdin))}
    except KeysError as error:
        answer = {"error": error.kind, "message": str(error)}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
