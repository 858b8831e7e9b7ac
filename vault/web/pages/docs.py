"""`/openapi.json` and `/docs`: the description of `/v1` as the code has it, shown without any other host."""

from collections.abc import Callable
from typing import Final

from flask import Response, render_template_string
from flask_openapi.openapi import OpenAPI
from flask_openapi_swagger.plugins import RegisterPlugin
from flask_openapi_swagger.templates import swagger_html_string

from vault.web.requests import json_response

_SPECIFICATION: Final = "/openapi.json"
_FOLDER: Final = "/docs"
_POLICY: Final = (
    "default-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "frame-ancestors 'none'"
)


def add_docs(app: OpenAPI, described: Callable[[], OpenAPI]) -> None:
    """Add both routes to an application; `described` gives one with all of `/v1`, whatever this one's role serves."""

    def specification() -> Response:
        return json_response(described().api_doc)

    def docs() -> Response:
        page = render_template_string(
            # The template links its files relative to a folder, and this page stands beside it.
            swagger_html_string.replace("<head>", f'<head><base href="{_FOLDER}/">', 1),
            doc_url=_SPECIFICATION,
            swagger_config={},
            oauth_config=None,
        )
        return Response(page, headers={"Content-Security-Policy": _POLICY}, mimetype="text/html")

    app.register_blueprint(RegisterPlugin.register(doc_url=_SPECIFICATION), url_prefix=_FOLDER)
    app.add_url_rule(_SPECIFICATION, view_func=specification)
    app.add_url_rule(_FOLDER, view_func=docs)
