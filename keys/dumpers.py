"""Tells PostgreSQL's driver how the lists of `keys.arrays` are written; to be imported before it is given any.

Beside them, because the driver takes as long to import as SQLAlchemy does, and a vault on SQLite has no use for it.
"""

import psycopg
from psycopg.adapt import Dumper
from psycopg.pq import Format

from keys.arrays import Numbers, Octets, Texts


class _ListDumper(Dumper):
    """How such a list is written; a class for each type of the server's."""

    format = Format.BINARY

    def dump(self, obj: Octets | Texts | Numbers) -> bytes:
        return obj.sent()


class _OctetsDumper(_ListDumper):
    oid = 1001


class _TextsDumper(_ListDumper):
    oid = 1009


class _NumbersDumper(_ListDumper):
    oid = 1016


for _kind, _dumper in ((Octets, _OctetsDumper), (Texts, _TextsDumper), (Numbers, _NumbersDumper)):
    psycopg.adapters.register_dumper(_kind, _dumper)
