"""`/v1/events`: a provider is told what became of its own, as it happens."""

from time import monotonic
from typing import Final

from flask import Response, request

from vault.web.admission import rest
from vault.web.api import ANSWER, api_blueprint
from vault.web.gate import DIRECTORY, current_client, current_vault, requires
from vault.web.places import EventsQuery
from vault.web.requests import json_response

LOOK_SECONDS: Final = 1.0
"""How often one who waits looks again."""

api = api_blueprint("events")


@api.get("", responses={200: ANSWER})
@requires("provider", "register", DIRECTORY)
def events(query: EventsQuery) -> Response:
    """Tell the caller's events after a cursor; where there are none yet, wait for one as long as is said."""
    vault, client = current_vault(), current_client()
    limit = min(query.limit or vault.settings.page_items, vault.settings.page_items_max)
    end = monotonic() + query.wait
    found = vault.feeding.after(client, query.after, limit)
    while not found["items"] and rest(request.environ, min(end - monotonic(), LOOK_SECONDS)):
        vault.peek(*DIRECTORY)
        found = vault.feeding.after(client, query.after, limit)
    return json_response(found)
