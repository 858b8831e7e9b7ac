"""What the floor programs of both databases share: the rows, the sealing, and a Flask application with nothing else.

`/read` is one row by primary key and one AES-GCM opening; `/write` one keyed id, one AES-GCM sealing and one durable
insert; `/batch/read` many rows by their keys in one statement, each opened. No authentication, validation, audit, log
or header: the vault lands below this line, and the aim is how little below.
"""

import hmac
import os
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flask import Flask, Response, request

ROWS: Final = 100_000
Row = tuple[bytes, bytes, bytes]
"""(id, nonce, sealed)"""
_MAC_KEY: Final = bytes(range(32, 64))
_AEAD: Final = AESGCM(bytes(range(32)))
_RECORD: Final = {
    "legal_name": "SPECIMEN AAAAA", "birth_date": "1980-01-12", "email": "specimen@example.org", "city": "Stockholm",
    "document": {"type": "passport", "country": "UTO", "number": "S00000000"},
}  # fmt: skip


def _keyed(text: bytes) -> bytes:
    return hmac.digest(_MAC_KEY, text, "sha256")[:16]


def _row(key: bytes, body: bytes) -> Row:
    nonce = os.urandom(12)
    return key, nonce, _AEAD.encrypt(nonce, body, key)


def fresh(body: bytes) -> Row:
    """Return a row with a new id that seals a body."""
    return _row(_keyed(body + os.urandom(8)), body)


def rows() -> Iterator[Row]:
    """Return the rows that are read."""
    plain = orjson.dumps(_RECORD)
    return (_row(_keyed(b"row:%d" % number), plain) for number in range(ROWS))


def _some(count: int) -> list[bytes]:
    return [_keyed(b"row:%d" % random.randrange(ROWS)) for _ in range(count)]  # noqa: S311 - which rows to read


def _opened(row: Row) -> dict[str, object]:
    key, nonce, sealed = row
    return {"token": key.hex(), "record": orjson.loads(_AEAD.decrypt(nonce, sealed, key))}


def application(
    read: Callable[[bytes], Row], read_all: Callable[[Sequence[bytes]], Sequence[Row]], write: Callable[[Row], object]
) -> Flask:
    """Return the application over one database's statements."""
    app = Flask(__name__)

    def answer(value: object) -> Response:
        return app.response_class(orjson.dumps(value), mimetype="application/json")

    def one() -> Response:
        return answer(_opened(read(_some(1)[0])))

    def many(count: int) -> Response:
        return answer([_opened(row) for row in read_all(_some(count))])

    def insert() -> Response:
        row = fresh(request.get_data(cache=False))
        write(row)
        return answer({"token": row[0].hex()})

    app.add_url_rule("/read", view_func=one)
    app.add_url_rule("/batch/read/<int:count>", view_func=many)
    app.add_url_rule("/write", view_func=insert, methods=["POST"])
    return app
