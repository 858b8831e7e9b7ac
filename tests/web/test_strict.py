import io
import json
import math
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.errors import Kind, VaultError
from vault.web.strict import MAX_DEPTH, leave_nothing_unread, parse_form, parse_json, read_body

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-(10**16), 10**16) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def refused(data: bytes) -> str:
    started = time.perf_counter()
    with pytest.raises(VaultError) as caught:
        parse_json(data)
    assert time.perf_counter() - started < 1
    assert caught.value.kind is Kind.MALFORMED
    return caught.value.detail


@given(VALUES, st.booleans())
def test_any_json_value_comes_back_as_it_was(value: object, ascii_only: bool) -> None:  # noqa: FBT001
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@given(TEXTS, VALUES, VALUES, st.integers(0, MAX_DEPTH - 6), st.booleans())
def test_a_member_named_twice_is_refused_at_any_depth(
    name: str,
    one: object,
    two: object,
    depth: int,
    in_arrays: bool,  # noqa: FBT001
) -> None:
    # The second spelling is escaped: both name the same member.
    escaped = '"' + "".join(f"\\u{ord(char):04x}" for char in name) + '"' if name.isascii() else json.dumps(name)
    body = f"{{{json.dumps(name)}: {json.dumps(one)}, {escaped}: {json.dumps(two)}}}"
    for _ in range(depth):
        body = f"[{body}]" if in_arrays else f'{{"a": {body}}}'
    refused(body.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b"NaN",
        b'{"a":Infinity}',
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"9" * 100_000 + b"]",
        b"[-" + b"9" * 18 + b"]",
        b'"\xff"',
        b'"\xc0\xaf"',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'["a",{"b":["\\uDC00"]}]',
        b'{"\\ud83d":1}',
        b'"a\nb"',
        b"{'a':1}",
        b"\xef\xbb\xbf{}",
        b"[" * 10_000 + b"]" * 10_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 65_536,
        b'"' + b'\\"' * 32_000,
        b'\\"' * 32_000,
        b'"\\',
    ],
)
def test_what_is_not_plain_json_is_refused_at_once(data: bytes) -> None:
    refused(data)


def test_pairs_of_surrogates_and_brackets_in_strings_are_plain() -> None:
    assert parse_json(b'"\\ud83d\\ude00"') == "\U0001f600"
    assert parse_json(b'"\\\\ud800"') == "\\ud800"
    assert parse_json(b'["' + b"[{" * 1000 + b'\\"[["]') == ["[{" * 1000 + '"[[']
    assert parse_json(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH) is not None
    assert parse_json(b"[" + b"[],[]," * 1000 + b"1]") is not None


@given(st.binary(max_size=200))
def test_any_bytes_give_a_finite_value_or_a_refusal(data: bytes) -> None:
    with suppress(VaultError):
        value = parse_json(data)
        assert not (isinstance(value, float) and not math.isfinite(value))


def environ(data: bytes, **headers: Any) -> dict[str, Any]:
    return {"wsgi.input": io.BytesIO(data), **headers}


def kind_of(given: dict[str, Any], *, chunked: bool = False) -> Kind:
    with pytest.raises(VaultError) as caught:
        read_body(given, 10, chunked=chunked)
    return caught.value.kind


def test_a_body_is_read_up_to_its_length_and_no_further() -> None:
    stream = environ(b"0123456789rest", CONTENT_LENGTH="10")
    assert read_body(stream, 10) == b"0123456789"
    assert stream["wsgi.input"].read() == b"rest"


def test_a_body_that_is_too_long_is_refused_unread() -> None:
    stream = environ(b"0123456789a", CONTENT_LENGTH="11")
    assert kind_of(stream) is Kind.TOO_LARGE
    assert stream["wsgi.input"].tell() == 0


def test_what_was_not_read_is_read_off_up_to_one_read_and_no_further() -> None:
    """Otherwise the connection is said to end."""
    assert leave_nothing_unread(environ(b""))
    stream = environ(b"0123456789rest", CONTENT_LENGTH="10")
    assert leave_nothing_unread(stream)
    assert stream["wsgi.input"].read() == b"rest"
    for left in (
        environ(b"0123", CONTENT_LENGTH="10"),
        environ(b"", CONTENT_LENGTH="65537"),
        environ(b"", CONTENT_LENGTH="ten"),
        environ(b"", HTTP_TRANSFER_ENCODING="chunked", CONTENT_LENGTH="0"),
    ):
        assert not leave_nothing_unread(left)
        assert left["wsgi.input"].read() == b""


def test_what_was_read_is_not_read_again() -> None:
    stream = environ(b"0123456789rest", CONTENT_LENGTH="10")
    read_body(stream, 10)
    assert leave_nothing_unread(stream)
    assert stream["wsgi.input"].read() == b"rest"


def test_a_body_without_a_length_is_refused_unless_chunks_are_allowed_there() -> None:
    chunks = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}
    assert kind_of(environ(b"abc", **chunks)) is Kind.LENGTH_REQUIRED
    assert kind_of(environ(b"abc")) is Kind.LENGTH_REQUIRED
    assert kind_of(environ(b"abc"), chunked=True) is Kind.LENGTH_REQUIRED
    assert read_body(environ(b"0123456789", **chunks), 10, chunked=True) == b"0123456789"
    stream = environ(b"0123456789" * 9, **chunks)
    assert kind_of(stream, chunked=True) is Kind.TOO_LARGE
    assert stream["wsgi.input"].tell() == 11


@pytest.mark.parametrize("length", ["-1", "1e3", "٣", "9" * 30, "0x10"])
def test_a_length_that_is_no_number_is_malformed(length: str) -> None:
    assert kind_of(environ(b"abc", CONTENT_LENGTH=length)) is Kind.MALFORMED


def test_a_body_that_ends_early_is_malformed() -> None:
    assert kind_of(environ(b"abc", CONTENT_LENGTH="4")) is Kind.MALFORMED


def test_a_form_is_read_with_empty_parameters_left_out() -> None:
    assert parse_form(b"token=a%20b%2Bc+d&account=&x=%C3%A9") == {"token": "a b+c d", "x": "é"}
    assert parse_form(b"") == {}


@given(st.text("ab=&;#é ", max_size=12))
def test_a_form_without_escapes_is_read_as_the_library_reads_it(text: str) -> None:
    pairs = parse_qsl(text, keep_blank_values=True)
    with suppress(VaultError):
        assert parse_form(text.encode()) == {name: value for name, value in pairs if value}
        assert len(dict(pairs)) == len(pairs)


@pytest.mark.parametrize("data", [b"a=1&a=1", b"a=&a=1", b"a=%ff", b"\xff=1", b"a=1&%61=2", b"&".join([b"a=1"] * 40)])
def test_a_form_with_repeated_or_unreadable_parameters_is_malformed(data: bytes) -> None:
    with pytest.raises(VaultError) as caught:
        parse_form(data)
    assert caught.value.kind is Kind.MALFORMED
