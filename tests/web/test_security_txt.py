"""`/.well-known/security.txt`: of RFC 9116's form whatever the issuer is called, and never out of date."""

import re
from datetime import timedelta

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from tests.web.stub import StubVault
from vault.config import load
from vault.domain.clock import SystemClock, from_text
from vault.errors import StartError
from vault.web.app import create_app
from vault.web.pages.security import mailbox, text

NOW = 1_790_000_000
YEAR_SECONDS = 365 * 86_400


def members(page: str) -> dict[str, str]:
    """Return the fields; each line is one, and none is there twice."""
    assert page.endswith("\n")
    pairs = [line.split(": ", 1) for line in page.splitlines()]
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


def test_anybody_reads_whom_to_tell_of_a_weakness(http: FlaskClient) -> None:
    answer = http.get("/.well-known/security.txt")
    assert (answer.status_code, answer.content_type) == (200, "text/plain; charset=utf-8")
    said = members(answer.text)
    assert said["Contact"] == "mailto:security@vault.example"
    assert said["Canonical"] == "https://vault.example/.well-known/security.txt"
    ahead = from_text(said["Expires"]) - SystemClock().now()
    assert timedelta(days=150) < ahead < timedelta(days=365)


def test_the_contact_is_what_was_set(vault: StubVault) -> None:
    vault.settings.security_contact = "https://vault.example/weakness"
    page = create_app(vault.vault).test_client().get("/.well-known/security.txt").text
    assert members(page)["Contact"] == "https://vault.example/weakness"


@pytest.mark.parametrize(
    ("issuer", "contact"),
    [
        ("https://vault.example", "mailto:security@vault.example"),
        ("https://vault.example:8443", "mailto:security@vault.example"),
        ("http://127.0.0.1:8400", "mailto:security@%5B127.0.0.1%5D"),
        ("http://[::1]:8400", "mailto:security@%5BIPv6%3A%3A%3A1%5D"),
    ],
)
def test_unset_it_is_the_mailbox_of_the_issuer_s_host(issuer: str, contact: str) -> None:
    assert mailbox(issuer) == contact


def test_without_https_no_address_is_called_canonical() -> None:
    assert set(members(text("http://127.0.0.1:8400", "", NOW))) == {"Contact", "Expires"}


@given(st.integers(0, 4_000_000_000))
def test_it_expires_within_a_year_of_any_moment_and_after_it(now: int) -> None:
    expires = int(from_text(members(text("https://vault.example", "", now))["Expires"]).timestamp())
    assert now < expires < now + YEAR_SECONDS


@pytest.mark.parametrize("good", ["mailto:security@vault.example", "https://vault.example/report", "tel:+46-8-1234"])
def test_a_contact_is_a_uri(good: str) -> None:
    assert load({"IDVAULT_SECURITY_CONTACT": good}).security_contact == good


@pytest.mark.parametrize(
    "bad",
    ["security@vault.example", "http://vault.example", "mailto:security", "tel:112", "https://a b", "mailto:a@b\nX: y"],
)
def test_any_other_contact_stops_the_start(bad: str) -> None:
    with pytest.raises(StartError, match=re.escape("security_contact: a URI that begins with")) as caught:
        load({"IDVAULT_SECURITY_CONTACT": bad})
    assert bad not in str(caught.value)
