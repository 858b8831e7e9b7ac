"""The floor: the least that a Flask request must do for the same job on SQLite.

`/read` is one row by primary key and one AES-GCM opening; `/write` one keyed id, one AES-GCM sealing and one durable
insert. No authentication, validation, audit, log or header: the vault lands below this line, and the aim is how
little below.

    FLOOR_DB=floor.db python -m bench.floor_sqlite      writes 100,000 rows
    FLOOR_DB=floor.db granian --interface wsgi --workers 2 --blocking-threads 2 --no-ws bench.floor_sqlite:app
"""

import hmac
import os
import random
import sqlite3
import threading
from typing import Final

import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flask import Flask, Response, request

ROWS: Final = 100_000
_MAC_KEY: Final = bytes(range(32, 64))
_AEAD: Final = AESGCM(bytes(range(32)))
_RECORD: Final = {
    "legal_name": "SPECIMEN AAAAA", "birth_date": "1980-01-12", "email": "specimen@example.org", "city": "Stockholm",
    "document": {"type": "passport", "country": "UTO", "number": "S00000000"},
}  # fmt: skip
_local: Final = threading.local()

app = Flask(__name__)


def connect(path: str) -> sqlite3.Connection:
    """Return a connection that commits each statement durably, as the vault's do."""
    connection = sqlite3.connect(path, timeout=5, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


def insert(connection: sqlite3.Connection, body: bytes) -> bytes:
    """Seal a body, insert it under a keyed id and return the id."""
    key, nonce = hmac.digest(_MAC_KEY, body + os.urandom(8), "sha256")[:16], os.urandom(12)
    connection.execute("insert into floor values (?, ?, ?)", (key, nonce, _AEAD.encrypt(nonce, body, key)))
    return key


@app.get("/read")
def read() -> Response:
    """Read and open one of all rows."""
    key = _row_id(random.randrange(ROWS))  # noqa: S311 - which row to read
    row = _connection().execute("select nonce, sealed from floor where id = ?", (key,)).fetchone()
    return _answer({"token": key.hex(), "record": orjson.loads(_AEAD.decrypt(row[0], row[1], key))})


@app.post("/write")
def write() -> Response:
    """Seal and insert a body."""
    return _answer({"token": insert(_connection(), request.get_data(cache=False)).hex()})


def load(path: str) -> None:
    """Make the table with its rows."""
    plain, connection = orjson.dumps(_RECORD), connect(path)
    connection.execute("create table floor (id blob primary key, nonce blob not null, sealed blob not null)")
    connection.execute("begin")
    for number in range(ROWS):
        key, nonce = _row_id(number), os.urandom(12)
        connection.execute("insert into floor values (?, ?, ?)", (key, nonce, _AEAD.encrypt(nonce, plain, key)))
    connection.execute("commit")
    connection.close()


def _connection() -> sqlite3.Connection:
    held: sqlite3.Connection | None = getattr(_local, "connection", None)
    if held is None:
        held = _local.connection = connect(os.environ["FLOOR_DB"])
    return held


def _row_id(number: int) -> bytes:
    return hmac.digest(_MAC_KEY, b"row:%d" % number, "sha256")[:16]


def _answer(value: object) -> Response:
    return app.response_class(orjson.dumps(value), mimetype="application/json")


if __name__ == "__main__":
    load(os.environ["FLOOR_DB"])
