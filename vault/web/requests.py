"""Requests and answers of this application: bodies are read strictly, answers are written fast."""

from typing import Any, Final

import orjson
from flask import Request, Response, current_app

from vault.errors import Kind, VaultError
from vault.web.gate import limit_of, permission_of
from vault.web.strict import parse_json, read_body

JSON: Final = "application/json"


class StrictRequest(Request):
    """A request whose JSON is one object, read by `strict.parse_json` within the limit."""

    def get_json(self, force: bool = False, silent: bool = False, cache: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - werkzeug's signature
        """Return the members of the body; the arguments do not soften the rules.

        Raises:
            VaultError: unsupported media type, length required, too large, malformed, or not an object.
        """
        del force, silent, cache
        if self.mimetype != JSON:
            raise VaultError(Kind.UNSUPPORTED_MEDIA_TYPE, "send the body as application/json")
        return members_of(self.environ, limit_of(permission_of(current_app, self.endpoint)))


def members_of(environ: dict[str, Any], limit_bytes: int) -> dict[str, Any]:
    """Return the members of a body of JSON.

    Raises:
        VaultError: length required, too large, malformed, or not an object.
    """
    value = parse_json(read_body(environ, limit_bytes))
    if not isinstance(value, dict):
        raise VaultError(Kind.VALIDATION, errors=(("", "must be an object"),))
    return value


def json_response(value: object, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return Response(orjson.dumps(value), status, content_type=JSON)
