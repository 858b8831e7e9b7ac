"""What the vault signs: typed statements alone, verified by joserfc against the published key."""

import base64
import json

import pytest
from joserfc import jwt
from joserfc.errors import BadSignatureError
from joserfc.jwk import ECKey, KeySet, KeySetSerialization

from keys.agent.acts import signing
from keys.errors import ProtocolError
from keys.primitives import P256Signer
from tests.keys.stores import NOW, KeyStore, dialogue

ANSWER = {"active": True, "scope": "read", "client_id": "cli_x", "sub": "nym_x", "assurance": "vault"}
STATEMENT = {"issuer": "https://vault.example", "audience": "cli_x", "now": NOW, "answer": ANSWER}


def _sign(store: KeyStore, **more: object) -> str:
    with dialogue() as talk:
        return str(signing.sign_introspection(store.keyring, {**STATEMENT, **more}, talk)["jwt"])


def _public(store: KeyStore) -> KeySetSerialization:
    with dialogue() as talk:
        return {"keys": signing.public_keys(store.keyring, {}, talk)["keys"]}


def test_an_answer_is_signed_for_who_asked_and_typed(store: KeyStore) -> None:
    published = _public(store)
    token = jwt.decode(_sign(store), KeySet.import_key_set(published), algorithms=["ES256"])
    assert token.header["typ"] == "token-introspection+jwt"
    assert token.header["kid"] == published["keys"][0]["kid"]
    assert token.claims == {
        "iss": "https://vault.example", "aud": "cli_x", "iat": NOW, "token_introspection": ANSWER,
    }  # fmt: skip


def test_the_key_is_named_by_its_rfc_7638_thumbprint_and_nothing_private_is_published(store: KeyStore) -> None:
    [key] = _public(store)["keys"]
    assert set(key) == {"crv", "kty", "x", "y", "kid", "use", "alg"}
    assert ECKey.import_key({name: key[name] for name in ("crv", "kty", "x", "y")}).thumbprint() == key["kid"]


def test_an_inactive_answer_says_nothing_else(store: KeyStore) -> None:
    token = jwt.decode(
        _sign(store, answer={"active": False, "scope": "read"}), KeySet.import_key_set(_public(store)), ["ES256"]
    )
    assert token.claims["token_introspection"] == {"active": False}


def test_a_signature_holds_for_its_own_bytes_alone(store: KeyStore) -> None:
    header, claims, signature = _sign(store).split(".")
    other = base64.urlsafe_b64encode(json.dumps({"iss": "x"}).encode()).rstrip(b"=").decode()
    assert claims != other
    with pytest.raises(BadSignatureError):
        jwt.decode(f"{header}.{other}.{signature}", KeySet.import_key_set(_public(store)), algorithms=["ES256"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": {"active": "yes"}}, {"answer": {**ANSWER, "admin": True}}, {"answer": {**ANSWER, "scope": 7}},
        {"answer": {**ANSWER, "vault_restriction": {"rung": "warn", "why": "x"}}}, {"answer": [1]},
        {"issuer": "vault.example"}, {"issuer": "https://vault.example?x=1"}, {"audience": 7}, {"now": "now"},
    ],
)  # fmt: skip
def test_nothing_but_an_introspection_is_signed(store: KeyStore, wrong: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        _sign(store, **wrong)


def test_a_restriction_is_part_of_what_is_signed(store: KeyStore) -> None:
    restriction = {"rung": "warn", "until": "2031-01-01T00:00:00Z"}
    token = jwt.decode(
        _sign(store, answer={**ANSWER, "vault_restriction": restriction}),
        KeySet.import_key_set(_public(store)),
        ["ES256"],
    )
    assert token.claims["token_introspection"]["vault_restriction"] == restriction


def test_a_former_key_is_published_beside_the_one_that_signs(store: KeyStore) -> None:
    before = _sign(store)
    store.write_key("sign/es256", "", 2, store.keyring.current("sign/es256").state, P256Signer.draw())
    store.keyring.reload()
    keys = KeySet.import_key_set(_public(store))
    assert len(_public(store)["keys"]) == 2
    for signed in (before, _sign(store)):
        assert jwt.decode(signed, keys, algorithms=["ES256"]).claims["aud"] == "cli_x"
    assert before.split(".")[0] != _sign(store).split(".")[0]
