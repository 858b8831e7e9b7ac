"""Each seal with the real thing behind it: a passphrase, a SoftHSM token, an OpenBao, a KMS; and such that lie."""

import base64
import json
import os
import random
import re
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism

from keys.errors import KeysError, OfficerError, SealError, SealUnreachableError, SetupError
from keys.passphrases import LOW_MEMORY, Cost
from keys.primitives import Secret, random_bytes
from keys.seals.automatic import Automatic
from keys.seals.configs import PKCS11, TRANSIT, check_config, described
from keys.seals.passphrase import Passphrase
from keys.seals.pkcs11 import _key
from keys.seals.sealed import Backend, Sealed, context_of, kind_at, read, seal_root
from tests.keys.backends import PIN, SoftHsm, Transit, kms
from vault.domain.clock import SystemClock

DEPLOYMENT, ROOT_ID = bytes(range(16)), bytes(range(16, 32))
WORDS: Final = "correct horse battery staple"
CHEAP: Final = Cost(1, 32, 4)


@pytest.fixture
def kms_config(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    with kms(monkeypatch) as config:
        yield config


@pytest.fixture(params=["passphrase", "pkcs11", "transit", "aws-kms"])
def backend(request: pytest.FixtureRequest) -> Backend:
    match request.param:
        case "passphrase":
            return Passphrase(WORDS, CHEAP)
        case "pkcs11":
            return Automatic("pkcs11", request.getfixturevalue("hsm").config(), create=True)
        case "transit":
            return Automatic("transit", request.getfixturevalue("transit").config())
        case _:
            return Automatic("aws-kms", request.getfixturevalue("kms_config"))


def test_a_seal_gives_back_the_root_key_at_its_place_and_nowhere_else(backend: Backend) -> None:
    root = Secret.random(32)
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, root)
    assert sealed.open(backend) == root
    assert root.expose_cleartext() not in bytes(sealed)
    assert Sealed.parse(bytes(sealed)) == sealed
    for place in ((bytes(16), ROOT_ID), (DEPLOYMENT, bytes(16))):
        with pytest.raises(SealError):
            backend.unwrap(sealed.wrapped, context_of(sealed.kind, sealed.config, *place))
    other = seal_root(backend, DEPLOYMENT, ROOT_ID, root)
    assert other.wrapped != sealed.wrapped, "each wrapping is of its own"


def test_a11_a_backend_that_gives_another_valid_key_is_found_out_and_nothing_is_opened(backend: Backend) -> None:
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    context = context_of(sealed.kind, sealed.config, DEPLOYMENT, ROOT_ID)
    lying = Sealed(
        sealed.kind, sealed.config, DEPLOYMENT, ROOT_ID, sealed.commitment, backend.wrap(random_bytes(32), context)
    )
    with pytest.raises(SealError, match="another key than was sealed"):
        lying.open(backend)


def test_a_wrapped_key_that_was_altered_anywhere_does_not_open(backend: Backend) -> None:
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    context = context_of(sealed.kind, sealed.config, DEPLOYMENT, ROOT_ID)
    for at in (-6, len(sealed.wrapped) // 2 + 7):
        other = "A" if sealed.wrapped[at] != "A" else "B"
        altered = f"{sealed.wrapped[:at]}{other}{sealed.wrapped[at:][1:]}"
        with pytest.raises(SealError):
            backend.unwrap(altered, context)


def test_a23_a_passphrase_is_stretched_at_the_floor_of_rfc_9106_and_bad_ones_are_refused_before() -> None:
    sealed = seal_root(Passphrase(WORDS), DEPLOYMENT, ROOT_ID, Secret.random(32))
    assert sealed.wrapped.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert (LOW_MEMORY.memory_kib, LOW_MEMORY.passes, LOW_MEMORY.lanes) == (65536, 3, 4)
    for wrong in ("correct horse battery stapel", WORDS.upper(), ""):
        with pytest.raises(SealError, match="passphrase: wrong"):
            sealed.open(Passphrase(wrong))
    for bad in ("short", "x" * 1025, "with a \0 inside it"):
        with pytest.raises(OfficerError, match="passphrase"):
            seal_root(Passphrase(bad), DEPLOYMENT, ROOT_ID, Secret.random(32))
    assert WORDS not in repr(Passphrase(WORDS))


@pytest.mark.parametrize(
    "wrapped",
    ["", "$argon2i$v=19$m=32,t=1,p=4$", "$argon2id$v=19$m=9999999,t=1,p=4${salt}${body}",
     "$argon2id$v=16$m=32,t=1,p=4${salt}${body}", "$argon2id$v=19$m=32,t=0,p=4${salt}${body}",
     "$argon2id$v=19$m=32,t=1,p=4${salt}${body}"],
)  # fmt: skip
def test_a_passphrases_string_with_a_fault_is_refused(wrapped: str) -> None:
    text = wrapped.replace("{salt}", "A" * 22).replace("{body}", "A" * 200)
    with pytest.raises(SealError, match="passphrase: wrong, or the seal was altered"):
        Passphrase(WORDS).unwrap(text, b"context")


GOOD: Final[Mapping[str, Mapping[str, str]]] = {
    "pkcs11": {"module": "/usr/lib/x.so", "token": "t", "key": "k", "pin_file": "/etc/pin"},
    "transit": {"url": "https://bao.example:8200", "mount": "transit", "key": "k", "token_file": "/etc/token"},
    "aws-kms": {"key_id": "1234", "region": "eu-central-1"},
}
BAD: Final = [
    ("pkcs11", {"module": "x.so"}, "module: an absolute path"),
    ("pkcs11", {"extra": "x"}, "extra: not for pkcs11"),
    ("pkcs11", {"token": ""}, "token: a text"),
    ("pkcs11", {"key": "a\nb"}, "key: a text"),
    ("transit", {"url": "http://bao.example:8200"}, "url: https"),
    ("transit", {"url": "https://bao.example/v1"}, "url: an address"),
    ("transit", {"url": "https://me:word@bao.example"}, "url: an address"),
    ("transit", {"url": "ftp://bao.example"}, "url: an address"),
    ("transit", {"url": "https://bao.example:99999"}, "url: an address"),
    ("transit", {"url": 7}, "url: a text"),
    ("aws-kms", {"endpoint": "http://kms.example"}, "endpoint: https"),
]


@pytest.mark.parametrize(("kind", "change", "rule"), BAD)
def test_a_setting_that_a_seal_cannot_have_is_named_with_its_rule(
    kind: str, change: Mapping[str, Any], rule: str
) -> None:
    check_config(kind, GOOD[kind])
    with pytest.raises(SealError, match=re.escape(rule)):
        check_config(kind, {**GOOD[kind], **change})


@pytest.mark.parametrize("kind", GOOD)
def test_each_setting_that_is_needed_is_asked_for_by_its_name(kind: str) -> None:
    for name in GOOD[kind]:
        with pytest.raises(SealError, match=f"{name}: needed for {kind}"):
            check_config(kind, {key: value for key, value in GOOD[kind].items() if key != name})
    with pytest.raises(SealError, match="seal: one of"):
        check_config("papyrus", {})


@given(st.sampled_from(sorted(GOOD)), st.text(min_size=1, max_size=20))
def test_what_officers_sign_changes_with_every_setting(kind: str, value: str) -> None:
    config = dict(GOOD[kind])
    name = min(config)
    if config[name] != value:
        assert described(kind, config) != described(kind, {**config, name: value})


def test_a_seals_file_with_one_fault_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "seal.json"
    good = bytes(seal_root(Passphrase(WORDS, CHEAP), DEPLOYMENT, ROOT_ID, Secret.random(32)))
    said = json.loads(good)
    faults = [
        b"", b"{}", b"[]", good + b" ", good[:-1], good.replace(b'"v":1', b'"v":2'),
        *(json.dumps({**said, name: value}, separators=(",", ":"), sort_keys=True).encode()
          for name, value in (("root_id", "00"), ("commitment", "zz"), ("deployment", 7), ("seal", "shares"),
                              ("seal", "papyrus"), ("config", {"a": "b"}), ("wrapped", 1), ("more", 1))),
    ]  # fmt: skip
    for fault in faults:
        path.touch(0o600)
        path.write_bytes(fault)
        with pytest.raises(SetupError, match="seal cannot be read"):
            read(path)
    path.write_bytes(good)
    assert read(path) is not None
    assert kind_at(path) == "passphrase"
    path.chmod(0o644)
    with pytest.raises(SetupError, match="readable for others"):
        read(path)
    path.rename(tmp_path / "target")
    path.symlink_to(tmp_path / "target")
    with pytest.raises(SetupError):
        read(path)
    path.unlink()
    assert (read(path), kind_at(path)) == (None, "shares")


# PKCS #11, by SoftHSM.


def _generate(hsm: SoftHsm, label: str, **more: bool) -> None:
    """Make a key in the token, by a process of its own, as an administrator would."""
    library = pkcs11.lib(hsm.config()["module"])
    library.reinitialize()
    template = {
        Attribute.ENCRYPT: True,
        Attribute.DECRYPT: True,
        Attribute.SENSITIVE: True,
        Attribute.EXTRACTABLE: False,
    }
    template |= {Attribute[name.upper()]: value for name, value in more.items()}
    with library.get_token(token_label="vault").open(rw=True, user_pin=PIN) as session:
        session.generate_key(KeyType.AES, 256, label=label, store=True, template=template)


@pytest.mark.parametrize("more", [{"sensitive": False}, {"extractable": True}])
def test_a20_a_key_that_could_be_read_out_of_the_token_is_refused(hsm: SoftHsm, more: dict[str, bool]) -> None:
    _generate(hsm, "root", **more)
    with pytest.raises(SealError, match="could be read out of the token"):
        seal_root(Automatic(PKCS11, hsm.config()), DEPLOYMENT, ROOT_ID, Secret.random(32))


def test_a20_a_key_that_the_token_makes_stays_in_it_and_a_second_of_its_label_is_refused(hsm: SoftHsm) -> None:
    with pytest.raises(SealError, match="no key of this label"):
        seal_root(Automatic(PKCS11, hsm.config()), DEPLOYMENT, ROOT_ID, Secret.random(32))
    sealed = seal_root(Automatic(PKCS11, hsm.config(), create=True), DEPLOYMENT, ROOT_ID, Secret.random(32))
    again = seal_root(Automatic(PKCS11, hsm.config(), create=True), DEPLOYMENT, ROOT_ID, Secret.random(32))
    assert sealed.open(Automatic(PKCS11, hsm.config())) != again.open(Automatic(PKCS11, hsm.config()))
    _generate(hsm, "root")
    with pytest.raises(SealError, match="several keys"):
        sealed.open(Automatic(PKCS11, hsm.config()))


def test_a20_a_wrong_pin_is_tried_once_and_a_token_that_went_away_may_come_back(hsm: SoftHsm) -> None:
    backend = Automatic(PKCS11, hsm.config(), create=True)
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    hsm.pin_file.write_text("000000\n")
    with pytest.raises(SealError, match="PIN in pin_file is wrong") as raised:
        sealed.open(backend)
    assert not isinstance(raised.value, SealUnreachableError)
    assert "000000" not in str(raised.value)
    hsm.pin_file.write_text(f"{PIN}\n")
    away = hsm.tokens.with_name("away")
    hsm.tokens.rename(away)
    hsm.tokens.mkdir()
    with pytest.raises(SealUnreachableError, match="no such token"):
        sealed.open(backend)
    hsm.tokens.rmdir()
    away.rename(hsm.tokens)
    sealed.open(backend)
    hsm.pin_file.chmod(0o640)
    with pytest.raises(SealError, match="pin_file: readable for others"):
        sealed.open(backend)


def test_a20_two_tokens_of_one_label_and_a_module_that_is_none_are_refused(hsm: SoftHsm, tmp_path: Path) -> None:
    backend = Automatic(PKCS11, hsm.config(), create=True)
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    (tmp_path / "none.so").write_bytes(b"not a library")
    with pytest.raises(SealError, match="module cannot be loaded"):
        Automatic(PKCS11, {**hsm.config(), "module": str(tmp_path / "none.so")}).unwrap(sealed.wrapped, b"")
    hsm.init("vault")
    with pytest.raises(SealError, match="several tokens"):
        sealed.open(backend)


def test_a20_a_pin_that_was_changed_is_tried_once_and_the_new_one_opens(hsm: SoftHsm) -> None:
    backend = Automatic(PKCS11, hsm.config(), create=True)
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    library = pkcs11.lib(hsm.config()["module"])
    library.reinitialize()
    with library.get_token(token_label="vault").open(rw=True, user_pin=PIN) as session:
        session.set_pin(PIN, "112233")
    with pytest.raises(SealError, match="PIN in pin_file is wrong"):
        sealed.open(backend)
    hsm.pin_file.write_text("112233\n")
    sealed.open(backend)


LOSSES: Final[dict[str, Callable[[SoftHsm], object]]] = {
    "the token": lambda hsm: shutil.rmtree(hsm.tokens),
    "the key": lambda hsm: hsm.key_file().unlink(),
    "what the key's file holds": lambda hsm: hsm.key_file().write_bytes(b""),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_a20_what_is_lost_amid_a_call_is_an_error_that_may_be_tried_again(
    hsm: SoftHsm, lose: Callable[[SoftHsm], object]
) -> None:
    backend = Automatic(PKCS11, hsm.config(), create=True)
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    root, kept = sealed.open(backend), hsm.tokens.with_name("kept")
    shutil.copytree(hsm.tokens, kept)
    pkcs11.lib(hsm.config()["module"]).reinitialize()
    raw = base64.b64decode(sealed.wrapped)
    parameters = GCMParams(raw[:12], context_of(sealed.kind, sealed.config, DEPLOYMENT, ROOT_ID), 128)

    def call() -> None:
        with _key(hsm.config()) as key:
            lose(hsm)
            key.decrypt(raw[12:], mechanism=Mechanism.AES_GCM, mechanism_param=parameters)

    with pytest.raises(SealUnreachableError, match="went away"):
        call()
    shutil.rmtree(hsm.tokens, ignore_errors=True)
    kept.rename(hsm.tokens)
    assert sealed.open(backend) == root, "the next call begins anew"


def test_a20_a_general_error_is_a_refusal(hsm: SoftHsm) -> None:
    """SoftHSM says so of what was altered, and of a key whose file was cut off."""
    sealed = seal_root(Automatic(PKCS11, hsm.config(), create=True), DEPLOYMENT, ROOT_ID, Secret.random(32))
    with pytest.raises(SealError, match="the token answered GeneralError") as raised:
        Automatic(PKCS11, hsm.config()).unwrap(sealed.wrapped, b"another place")
    assert not isinstance(raised.value, SealUnreachableError)


@pytest.mark.timeout(3600)
def test_a20_a_token_whose_files_were_damaged_opens_the_right_key_or_none(
    hsm: SoftHsm, drawn: random.Random, *, full: bool
) -> None:
    """Each byte of the key's file is altered with --full, else a few; and the file is cut off."""
    backend = Automatic(PKCS11, hsm.config())
    sealed = seal_root(replace(backend, create=True), DEPLOYMENT, ROOT_ID, Secret.random(32))
    root, file = sealed.open(backend), hsm.key_file()
    whole = file.read_bytes()
    places = range(len(whole)) if full else drawn.sample(range(len(whole)), 6)
    damaged = [whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :] for at in places]
    opened = 0
    for content in (*damaged, b"", whole[:100], whole[: len(whole) // 2], whole[:-1]):
        file.write_bytes(content)
        with suppress(SealError):
            assert sealed.open(backend) == root
            opened += 1
    assert opened < len(places) + 4
    file.write_bytes(whole)
    assert sealed.open(backend) == root


# Transit, by OpenBao, and by servers that are none.


def test_a21_transit_says_which_version_may_not_decrypt_and_wraps_anew_under_the_newest(transit: Transit) -> None:
    backend = Automatic(TRANSIT, transit.config())
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, root := Secret.random(32))
    assert sealed.wrapped.startswith("vault:v1:")
    transit.rotate()
    assert sealed.open(backend) == root
    transit.refuse_before(2)
    with pytest.raises(SealError, match="version 1 of the key may not decrypt any more"):
        sealed.open(backend)
    assert seal_root(backend, DEPLOYMENT, ROOT_ID, root).wrapped.startswith("vault:v2:")


def test_a21_a_token_without_the_right_a_key_that_is_not_there_and_a_sealed_server_say_what_to_do(
    transit: Transit,
) -> None:
    backend = Automatic(TRANSIT, transit.config())
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, Secret.random(32))
    good = transit.token_file.read_text()
    transit.token_file.write_text(transit.bao.transit_token("none", "decrypt"))
    with pytest.raises(SealError, match="not allowed this, or has expired"):
        sealed.open(backend)
    transit.token_file.write_text("expired\n")
    with pytest.raises(SealError, match="not allowed this, or has expired"):
        sealed.open(backend)
    transit.token_file.write_text(good)
    with pytest.raises(SealError, match=r"no such mount or key|not allowed|refused"):
        Automatic(TRANSIT, {**transit.config(), "mount": "elsewhere"}).unwrap(sealed.wrapped, b"")
    transit.bao.seal()
    try:
        with pytest.raises(SealUnreachableError, match="sealed itself"):
            sealed.open(backend)
    finally:
        transit.bao.unseal()
    sealed.open(backend)


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def answering(answer: Answer, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve something that is no transit engine; yield its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer(self)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def _said(status: int, body: bytes, handler: BaseHTTPRequestHandler, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def _endless(handler: BaseHTTPRequestHandler) -> None:
    """Say 2 GB of what begins like an answer."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(2 << 30))
    handler.end_headers()
    try:
        handler.wfile.write(b'{"data": {"plaintext": "')
        for _ in range(2 << 10):
            handler.wfile.write(b"A" * (1 << 20))
    except OSError:
        return


def _dripping(handler: BaseHTTPRequestHandler) -> None:
    """Say a byte a second, for ever."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.2)
    except OSError:
        return


OTHER_KEY: Final = json.dumps({"data": {"plaintext": base64.b64encode(bytes(32)).decode()}}).encode()
LIES: Final[list[tuple[str, Answer, type[SealError], str]]] = [
    ("another key", partial(_said, 200, OTHER_KEY), SealError, "another key than was sealed"),
    ("HTML", partial(_said, 200, b"<html>It works!</html>"), SealError, "not the transit engine"),
    ("no key", partial(_said, 200, b'{"data": {"plaintext": "AAAA"}}'), SealError, "gave no key"),
    ("a list", partial(_said, 200, b"[]"), SealError, "not the transit engine"),
    ("deep", partial(_said, 200, b"[" * 60_000), SealError, "not the transit engine"),
    ("2 GB", _endless, SealError, "not the transit engine"),
    ("for ever", _dripping, SealUnreachableError, "no answer in 2 seconds"),
    ("403", partial(_said, 403, b"{}"), SealError, "not allowed"),
    ("404", partial(_said, 404, b"{}"), SealError, "no such mount or key"),
    ("429", partial(_said, 429, b"{}"), SealUnreachableError, "too many"),
    ("500", partial(_said, 500, b"<html>"), SealUnreachableError, "answered 500"),
    ("503", partial(_said, 503, b""), SealUnreachableError, "sealed itself"),
    ("elsewhere", lambda handler: _said(307, b"", handler, Location="http://127.0.0.1:1/"), SealError, "refused"),
]


def _transit(folder: Path, port: int) -> dict[str, str]:
    """Return how a transit engine is reached there, with a token that nobody gave out."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text("s.specimen\n")
    return {"url": f"http://127.0.0.1:{port}", "mount": "transit", "key": "k", "token_file": str(token)}


def _hanging(_: BaseHTTPRequestHandler) -> None:
    """Say nothing for a minute."""
    time.sleep(60)


@pytest.mark.full_only
@pytest.mark.parametrize(
    ("answer", "seconds", "words"), [(_hanging, 10, "does not answer"), (_dripping, 20, "no answer in 20 seconds")]
)
def test_a21_a_server_that_hangs_holds_a_call_no_longer_than_its_limit(
    tmp_path: Path, answer: Answer, seconds: int, words: str
) -> None:
    with answering(answer) as port:
        config = _transit(tmp_path, port)
        begun = time.monotonic()
        with pytest.raises(SealUnreachableError, match=words):
            Sealed(TRANSIT, config, DEPLOYMENT, ROOT_ID, bytes(32), "vault:v1:AAAA").open(Automatic(TRANSIT, config))
        assert seconds <= time.monotonic() - begun < seconds + 8


@pytest.mark.parametrize(("answer", "error", "words"), [lie[1:] for lie in LIES], ids=[lie[0] for lie in LIES])
def test_a21_what_is_no_transit_engine_or_lies_opens_nothing_and_is_told_clearly(
    tmp_path: Path, answer: Answer, error: type[SealError], words: str
) -> None:
    with answering(answer) as port:
        config = _transit(tmp_path, port)
        backend = Automatic(TRANSIT, config, seconds=2 if answer is _dripping else 8)
        begun = time.monotonic()
        with pytest.raises(error, match=words) as raised:
            Sealed(TRANSIT, config, DEPLOYMENT, ROOT_ID, bytes(32), "vault:v1:AAAA").open(backend)
        assert type(raised.value) is error
        assert time.monotonic() - begun < 10
        assert "s.specimen" not in str(raised.value)


def test_a21_a_server_of_another_name_or_of_no_known_authority_is_not_spoken_to(tmp_path: Path) -> None:
    heard: list[object] = []
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("s.specimen\n")
    certificate = _certificate(tmp_path, "bao.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with answering(heard.append, context) as port:
        config = {"url": f"https://127.0.0.1:{port}", "mount": "transit", "key": "k", "token_file": str(token)}
        for more in ({}, {"ca_file": str(certificate)}):
            with pytest.raises(SealError, match="certificate is not of that name"):
                Automatic(TRANSIT, {**config, **more}).unwrap("vault:v1:AAAA", b"")
    assert not heard
    with pytest.raises(SealError, match="ca_file: cannot be read"):
        Automatic(TRANSIT, {**config, "ca_file": str(token)}).unwrap("vault:v1:AAAA", b"")
    with pytest.raises(SealUnreachableError, match="does not answer"):
        Automatic(TRANSIT, {**config, "url": "http://127.0.0.1:1"}).unwrap("vault:v1:AAAA", b"")


def _certificate(folder: Path, name: str) -> Path:
    key, path = ec.generate_private_key(ec.SECP256R1()), folder / "server.pem"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


# AWS KMS, as moto serves it.


def test_kms_binds_what_it_wraps_and_a_key_that_was_disabled_or_is_none_is_refused(kms_config: dict[str, str]) -> None:
    backend = Automatic("aws-kms", kms_config)
    sealed = seal_root(backend, DEPLOYMENT, ROOT_ID, root := Secret.random(32))
    assert sealed.open(backend) == root
    with pytest.raises(SealError, match="aws-kms: answered"):
        Automatic("aws-kms", {**kms_config, "key_id": "none"}).wrap(bytes(32), b"")
    with pytest.raises(SealUnreachableError, match="aws-kms"):
        Automatic("aws-kms", {**kms_config, "endpoint": "http://127.0.0.1:1"}).unwrap(sealed.wrapped, b"")


def test_the_driver_takes_nothing_from_the_command_line_and_tells_no_key_in_its_environment(hsm: SoftHsm) -> None:
    backend = Automatic(PKCS11, hsm.config(), create=True)
    seen: list[str] = []
    run = subprocess.run

    def watched(command: list[str], **more: Any) -> Any:
        seen.append(" ".join(map(str, command)))
        assert "env" not in more
        return run(command, **more)

    root = Secret(b"R" * 32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("keys.seals.automatic.subprocess.run", watched)
        seal_root(backend, DEPLOYMENT, ROOT_ID, root)
    assert seen
    assert all(command.endswith("-m keys.seals.driver") for command in seen)
    assert not any(root.expose_cleartext().decode() in value for value in os.environ.values())


def test_a_driver_that_dies_or_says_nonsense_is_an_error_that_may_be_tried_again(
    hsm: SoftHsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keys.seals.automatic.sys.executable", "/bin/false")
    with pytest.raises(SealUnreachableError, match="ended without an answer"):
        Automatic(PKCS11, hsm.config()).unwrap("AAAA", b"")
    with pytest.raises(KeysError, match="seal: one of"):
        Automatic("passphrase", {})
