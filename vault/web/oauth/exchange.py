"""The grant `token-exchange` of `/oauth/token` (RFC 8693): what its form says, and how its refusals are spelled."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from keys.errors import RefusedError, UsesError
from keys.tokens import HANDOFF
from vault.errors import Kind, VaultError
from vault.services.exchanging import HANDOFF_TYPE, PSEUDONYM_TYPE, USED_UP, Opening, Redeeming
from vault.services.refusing import Refused
from vault.web.oauth.errors import OAuthError

if TYPE_CHECKING:
    from vault.services.access import Client
    from vault.wiring import Vault

EXCHANGE_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
REPEATABLE: Final = frozenset(("audience", "resource"))
"""RFC 8693 section 2.1 lets these repeat. One audience is all that a pairwise token can have: several are refused."""
_CLIENT: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PURPOSE: Final = re.compile(r"[a-z_]{1,32}")
_MAX_TOKEN_CHARACTERS: Final = 512
_TARGET: Final = "invalid_target"
_SCOPE: Final = "invalid_scope"
_TEXTS: Final = {
    "invalid_request": "the subject token is none that may be exchanged",
    _TARGET: "this audience is none that the client may exchange for",
    _SCOPE: "scope is one purpose, agreed with this audience",
}


def exchanged(vault: "Vault", client: "Client", form: Mapping[str, str]) -> dict[str, Any]:
    """Return the answer of an exchange.

    Raises:
        OAuthError, VaultError, KeysError: refused.
    """
    vault.peek("exchange")
    if client.role != "provider":
        raise VaultError(Kind.FORBIDDEN, "only providers exchange tokens")
    [outcome] = vault.exchanging.exchange(client, [wish_of(form, client.id)])
    answer = {name: value for name, value in outcome.items() if name not in {"status", "error"}}
    code = outcome.get("error")
    if code is None:
        return answer
    if code in _TEXTS:
        # Whether a subject token is one that may be exchanged is between the two: that is not told.
        raise _refusal(code, Refused.AGREEMENT if code in {_TARGET, _SCOPE} else None)
    if outcome["status"] == 429:  # noqa: PLR2004 - the budget's status
        raise VaultError(Kind.TOO_MANY_REQUESTS, "the hand-offs that were agreed for this hour are used up")
    if outcome is USED_UP:
        raise UsesError
    if outcome["status"] == 503:  # noqa: PLR2004 - another act on the same person
        raise VaultError(Kind.UNAVAILABLE, "try again in a moment", retry_after_seconds=1)
    raise RefusedError


def _refusal(code: str, refused: Refused | None = None) -> OAuthError:
    return OAuthError(code, _TEXTS[code], refused)


def wish_of(given: Mapping[str, str], client_id: str) -> Opening | Redeeming:
    """Return what an exchange asks for.

    Raises:
        OAuthError: the parameters do not fit together.
    """
    token = given.get("subject_token", "")
    redeems = token.startswith(HANDOFF)
    subject_type, wanted_type = (HANDOFF_TYPE, PSEUDONYM_TYPE) if redeems else (PSEUDONYM_TYPE, HANDOFF_TYPE)
    if not token or len(token) > _MAX_TOKEN_CHARACTERS:
        raise OAuthError("invalid_request", "subject_token is required, as it was given")
    if given.get("subject_token_type") != subject_type:
        raise OAuthError("invalid_request", f"subject_token_type is {PSEUDONYM_TYPE} or {HANDOFF_TYPE}")
    if given.get("requested_token_type", wanted_type) != wanted_type:
        raise OAuthError("invalid_request", f"what is issued here is {wanted_type}")
    if "actor_token" in given or "actor_token_type" in given:
        raise OAuthError("invalid_request", "nobody acts for another here: send no actor_token")
    if "resource" in given:
        raise _refusal(_TARGET)
    audience, purpose = given.get("audience"), given.get("scope")
    if redeems:
        return _redeeming(token, audience, purpose, client_id)
    if audience is None or not _CLIENT.fullmatch(audience):
        raise _refusal(_TARGET)
    if purpose is None or not _PURPOSE.fullmatch(purpose):
        raise _refusal(_SCOPE)
    return Opening(token, audience, purpose)


def _redeeming(token: str, audience: str | None, purpose: str | None, client_id: str) -> Redeeming:
    if audience not in {None, client_id}:
        raise _refusal(_TARGET)
    if purpose is not None and not _PURPOSE.fullmatch(purpose):
        raise _refusal(_SCOPE)
    return Redeeming(token, purpose)
