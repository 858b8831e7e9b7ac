"""What a provider's policy may say."""

import tomllib

import pytest

from vault.errors import VaultError
from vault.services.policies import POLICY, checked


def test_a_policy_is_stored_as_it_was_given_with_dates_as_text() -> None:
    given = tomllib.loads(
        'required = ["phone"]\nexpired_documents = "refuse"\nlegacy_scope = ""\nlegacy_until = 2031-01-01\n'
        "review_needs_reveal = true\ncaps = {personal = 0, public = 2}\n"
        'degrees = {minor = "limit_publish"}\nreach_serious = {reposts = 1}\ndefault_days = {suspend_updates = 90}\n'
    )
    assert set(given) == set(POLICY)
    assert checked(given) == given | {"legacy_until": "2031-01-01"}
    assert checked({"legacy_until": "2031-01-01"}) == {"legacy_until": "2031-01-01"}
    assert checked({}) == {}


@pytest.mark.parametrize(
    ("policy", "word"),
    [
        ("legacy_until = 2031-01-01T00:00:00Z", "legacy_until"), ('legacy_until = "soon"', "legacy_until"),
        ("legacy_until = 7", "policy"), ('degrees = {huge = "warn"}', "degrees"),
        ('degrees = {minor = "mute"}', "degrees"), ("degrees = {minor = 1}", "degrees"),
        ("reach_serious = {views = 0}", "reach_serious"), ("reach_serious = {likes = 1}", "reach_serious"),
        ("default_days = {warn = 1}", "default_days"), ("default_days = {limit_publish = 9999}", "default_days"),
        ("caps = {public = -1}", "caps"), ("caps = {public = true}", "caps"), ("caps = {other = 1}", "caps"),
        ("caps = 3", "policy"),
    ],
)  # fmt: skip
def test_a_policy_that_says_what_it_may_not_is_refused(policy: str, word: str) -> None:
    with pytest.raises(VaultError) as caught:
        checked(tomllib.loads(policy))
    assert caught.value.detail.startswith("policy")
    assert word in caught.value.detail
