"""Which refusals the log tells: one table from error to kind, and who it was."""

from typing import Final

from flask import request

from keys.errors import BudgetError, HeldError, RefusedError
from vault.errors import Kind, VaultError
from vault.services.refusing import Refused
from vault.web.gate import CLIENT_KEY, current_vault
from vault.web.oauth.client import credentials
from vault.web.oauth.errors import OAuthError

_KINDS: Final = {
    Kind.UNAUTHENTICATED: Refused.CREDENTIALS,
    Kind.FORBIDDEN: Refused.SCOPE,
    Kind.TOO_MANY_REQUESTS: Refused.BUDGET,
}
_OAUTH: Final = "/oauth/"


def refused_of(error: Exception) -> Refused | None:
    """Return as what an error is told; None for all that is no attempt at what the client may not do."""
    if isinstance(error, OAuthError):
        return error.refused
    if isinstance(error, VaultError):
        return _KINDS.get(error.kind)
    if isinstance(error, BudgetError):
        return Refused.BUDGET
    if isinstance(error, HeldError):
        return Refused.HOLD
    return Refused.EVIDENCE if isinstance(error, RefusedError) else None


def tell(error: Exception) -> None:
    """Count a refusal of the current request, if it is of those that are told, before it is answered."""
    kind = refused_of(error)
    client_id = None if kind is None else _client()
    if kind is not None and client_id is not None:
        current_vault().refusing.tell(client_id, kind)


def _client() -> str | None:
    """Return the client that was authenticated, or that the credentials of an OAuth request name."""
    found: str | None = request.environ.get(CLIENT_KEY)
    if found is not None or not request.path.startswith(_OAUTH):
        return found
    try:
        return credentials(request.environ)[0]
    except VaultError:
        return None
