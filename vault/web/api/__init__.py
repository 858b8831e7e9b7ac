"""The views of `/v1`: each translates one request to one call of a service."""

from typing import Final

from flask_openapi.blueprint import APIBlueprint

from vault.web.gate import admit

_PROBLEM: Final = {
    "description": "Problem details (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
ANSWER: Final = {"description": "The answer", "content": {"application/json": {"schema": {"type": "object"}}}}


def api_blueprint(name: str) -> APIBlueprint:
    """Return the blueprint of one noun, behind the gate."""
    api = APIBlueprint(
        name,
        __name__,
        url_prefix=f"/v1/{name}",
        abp_responses={"422": dict(_PROBLEM), "default": dict(_PROBLEM)},
        abp_security=[{"bearer": []}],
    )
    api.before_request(admit)
    return api
