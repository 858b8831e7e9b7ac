"""The act `statement.seal`, behind `directory.sock`: the key that seals the words of one statement, and no other."""

from typing import Any

from sqlalchemy import Engine

from keys import statements
from keys.agent.arguments import Args, octets
from keys.agent.wire import Dialogue
from keys.engine import reading, writing
from keys.keyring import Keyring
from keys.tokens import PID_BYTES


def seal(engine: Engine, keyring: Keyring, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the key of one statement; the standing's own key is made with its first one.

    The audit row stands in the directory, with the sanction.

    Args:
        engine: of the key store.
        keyring: what the standing key encryption key opens.
        args: {pid, statement: the id of the statement}.
    """
    pid, statement = octets(args, "pid", PID_BYTES), octets(args, "statement", statements.STATEMENT_ID_BYTES)
    with reading(engine) as connection:
        key = statements.find(connection, keyring, pid)
    if key is None:
        with writing(engine) as connection:
            # Asked again under the write lock: another thread may have made it.
            key = statements.find(connection, keyring, pid) or statements.create(connection, keyring, pid)
    return {"key": statements.words_key(key, statement).expose_cleartext()}
