"""The acts `backup.begin` and `backup.sign`: a key for a backup of the key store, and the agent's word on the whole;
and `officers.export`: what officers did, for whoever restores an older backup.

The backup key is replaced each month, and destroyed once the time for which backups are kept has run out.
"""

from typing import Any, Final

from sqlalchemy import Connection, select

from keys import audit, store
from keys.agent.arguments import Args, octets
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.backups import ID_BYTES, Keeper, Manifest, part_key
from keys.carrying import carried_out
from keys.engine import reading, writing
from keys.entries import BACKUP
from keys.errors import BackupError
from keys.identity import FILE_NAME, open_identity, software_version
from keys.primitives import Ed25519Signer
from keys.seals.kept import Kept
from keys.states import State

MONTH_SECONDS: Final = 30 * 86_400
_DAY_SECONDS: Final = 86_400
_KEY: Final = store.key.c


def begin(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Give the key of one backup {id: 16 random bytes}, and the key file that is to be kept apart from it.

    Returns:
        {key: of its part, version, key_id, deployment, root_id, generation, agent, software, key_file}.
    """
    backup_id = octets(args, "id", ID_BYTES)
    with names.officers.lock, names.keyring.changing:
        _replaced(names)
        key, state = names.keyring.current(BACKUP), names.officers.state()
        kept = Kept(names.officers.home)
        seal = kept.path.read_bytes() if kept.path.exists() else b""
        with reading(names.engine) as connection:
            rows = connection.execute(select(_KEY.id, _KEY.version, _KEY.state, _KEY.created, _KEY.sealed).where(
                _KEY.purpose == BACKUP, _KEY.state != State.DESTROYED)).mappings().all()  # fmt: skip
        root = names.keyring.wrapping
        keeper = Keeper(
            names.keyring.deployment, root.id, state.generation if state else 0,
            bytes(state.ceremony) if state else b"", seal, tuple(dict(row) for row in rows),
        )  # fmt: skip
    return {
        "key": part_key(key, backup_id).expose_cleartext(), "version": key.version, "key_id": key.id,
        "deployment": names.keyring.deployment, "root_id": root.id, "generation": keeper.generation,
        "agent": _identity(names).public(), "software": software_version(), "key_file": bytes(keeper),
    }  # fmt: skip


def _replaced(names: Names) -> None:
    """Have this month's backup key in force, and those that have run out destroyed."""
    now, keyring = names.now(), names.keyring
    horizon = names.limits.backup_keep_days * _DAY_SECONDS
    with reading(names.engine) as connection:
        query = select(_KEY.version, _KEY.created, _KEY.state).where(_KEY.purpose == BACKUP)
        rows = connection.execute(query.order_by(_KEY.version)).all()
    created = {row.version: row.created for row in rows}
    over = [
        row.version for row in rows
        if row.state == State.DEACTIVATED and created[row.version + 1] + horizon <= now
    ]  # fmt: skip
    due = created[keyring.current(BACKUP).version] + MONTH_SECONDS <= now
    if not (due or over):
        return
    with writing(names.engine) as connection:
        for version in over:
            keyring.move(connection, keyring.versions(BACKUP)[version], State.DESTROYED)
            _note(names, connection, "keys.destroyed")
        if due:
            keyring.rotate(connection, BACKUP, "", now, State.DEACTIVATED)
            _note(names, connection, "keys.rotated")
    keyring.reload()


def sign(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Sign a backup {manifest}; return {signature: what stands in `manifest.sig`}.

    Raises:
        BackupError: the manifest is not of its form, of another vault, or of a key that is not in force: what was
            copied may lie under another root key than the manifest says.
    """
    manifest = Manifest.parse(octets(args, "manifest"))
    with names.keyring.changing:
        key, root, identity = names.keyring.current(BACKUP), names.keyring.wrapping, _identity(names)
        named = (manifest.deployment, manifest.agent, manifest.said["root_id"], manifest.said["key"])
        own = names.keyring.deployment, identity.public(), root.id.hex(), {"id": key.id.hex(), "version": key.version}
        if named != own:
            raise BackupError("manifest: of another vault, or begun under another key; begin anew")
        with writing(names.engine) as connection:
            _note(names, connection, "backup.made")
    return {"signature": manifest.signed(identity, part_key(key, manifest.id))}


def officers_exported(names: Names, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {file, number}: the chain of officers up to its record of that number, sealed for a restore alone.

    Raises:
        ConflictError: there are no officers.
    """
    with names.officers.lock:
        made = carried_out(names.officers.chain)
    return {"file": bytes(made), "number": made.head.number}


def _identity(names: Names) -> Ed25519Signer:
    return open_identity(names.officers.home / FILE_NAME)


def _note(names: Names, connection: Connection, kind: str) -> None:
    audit.write_all(connection, [audit.sealed_row(names.keyring, b"", kind, names.minute, {})])
