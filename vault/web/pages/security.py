"""`/.well-known/security.txt` (RFC 9116): whom to tell of a weakness, for anybody, at any state of the vault."""

import ipaddress
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from flask import Flask, Response

from vault.domain.clock import SystemClock, epoch, from_epoch, to_text

if TYPE_CHECKING:
    from vault.wiring import Vault

PATH: Final = "/.well-known/security.txt"
SECONDS: Final = 3600
"""How long a cache may show it."""
_DAY_SECONDS: Final = 86_400
_GOOD_DAYS: Final = 180
"""RFC 9116, section 2.5.5: less than a year ahead."""


def mailbox(issuer: str) -> str:
    """Return the mailbox that RFC 2142 names for reports of this kind at the issuer's host, as a URI (RFC 6068)."""
    host = urlsplit(issuer).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"mailto:security@{host}"
    literal = f"[IPv6:{address}]" if address.version == 6 else f"[{address}]"  # noqa: PLR2004 - RFC 5321, 4.1.3
    return f"mailto:security@{quote(literal)}"


def text(issuer: str, contact: str, now: int) -> str:
    """Return the file.

    Args:
        issuer: the URL by which the vault is known.
        contact: a URI; empty for the issuer's mailbox.
        now: seconds since 1970.
    """
    expires = from_epoch(now - now % _DAY_SECONDS + _GOOD_DAYS * _DAY_SECONDS)
    lines = [f"Contact: {contact or mailbox(issuer)}", f"Expires: {to_text(expires)}"]
    if issuer.startswith("https:"):  # no other is canonical (section 2.5.2)
        lines.append(f"Canonical: {issuer}{PATH}")
    return "".join(f"{line}\n" for line in lines)


def add_security(app: Flask, vault: "Vault") -> None:
    """Add the route to an application."""
    issuer, contact = vault.settings.issuer_url, vault.settings.security_contact

    def security_txt() -> Response:
        answer = Response(
            text(issuer, contact, epoch(SystemClock().now())), content_type="text/plain; charset=utf-8"
        )  # fmt: skip
        answer.headers["Cache-Control"] = f"public, max-age={SECONDS}"
        return answer

    app.add_url_rule(PATH, view_func=security_txt, methods=["GET"])
