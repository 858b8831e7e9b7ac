"""The act `migrate-seal`: another seal for the root key; the one before opens nothing any more, or no longer alone.

A vault of officers keeps their shares whatever seal stands beside them. One without officers has a seal alone: it gets
another root key with it, so that a copy of the former seal opens nothing of what comes after.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from keys import audit
from keys.agent.arguments import Args, mapping, text
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.chain import State
from keys.engine import writing
from keys.errors import ConflictError, RefusedError, SealedError
from keys.passphrases import MAX_BYTES
from keys.primitives import KEY_BYTES, Secret, random_bytes
from keys.quorum import Kind
from keys.seals.automatic import Automatic
from keys.seals.configs import AUTOMATIC, PASSPHRASE, SHARES, check_config
from keys.seals.passphrase import Passphrase
from keys.seals.sealed import Backend, seal_root

if TYPE_CHECKING:
    from keys.agent.acts.deciding import Deciding


def migrate_seal(names: Names, args: Args, _: Dialogue) -> dict[str, Any]:
    """Have another seal in force; said again, it has the root key wrapped anew, under the backend's newest key.

    The seal is made, and opened again, before officers are asked for it.

    Args:
        names: the holder.
        args: {seal: shares|passphrase|pkcs11|transit|aws-kms, config, passphrase, create}.
        _: unused.

    Returns:
        {seal, sealed: whether the vault was shut, to be opened by the new seal}; or {pending: id} until officers
        approved it.

    Raises:
        SealError: the seal cannot be made, or does not open; nothing was changed.
        RefusedError: an automatic seal without officers, or shares without a ceremony.
        SealedError: another change was made at the same moment, and the vault is shut for it.
    """
    kind, config = text(args, "seal"), mapping(args["config"], "config")
    check_config(kind, config)
    with names.officers.lock, names.keyring.changing:
        if names.officers.ended:
            raise SealedError
        state = names.officers.state()
        if state is None:
            return _alone(names, kind, args)
        return _beside_shares(names, state, kind, config, _backend(kind, config, args))


def _backend(kind: str, config: Mapping[str, Any], args: Args) -> Backend | None:
    if kind == SHARES:
        return None
    if kind == PASSPHRASE:
        return Passphrase(text(args, "passphrase", max_chars=MAX_BYTES))
    return Automatic(kind, config, create=args.get("create") is True)


def _alone(names: Names, kind: str, args: Args) -> dict[str, Any]:
    """Put another root key under a passphrase, in a vault without officers."""
    if kind in AUTOMATIC:
        raise RefusedError("a seal that opens by itself stands beside officers' shares alone: idvault-keys init first")
    if kind != PASSPHRASE:
        raise RefusedError("shares are made by a ceremony: idvault-keys init")
    root_id, root, kept = random_bytes(16), Secret.random(KEY_BYTES), names.officers.kept
    backend = Passphrase(text(args, "passphrase", max_chars=MAX_BYTES))
    sealed = seal_root(backend, names.keyring.deployment, root_id, root)
    with _settled(names.officers):
        kept.prepare(sealed)
        with names.keyring.moving_under(root_id, root), writing(names.engine) as connection:
            names.keyring.rewrap_under(connection, root_id, root)
            audit.write_all(connection, [audit.sealed_row(names.keyring, b"", "seal.migrated", names.minute, {})])
        kept.put_in_force()
    names.officers.shut()
    return {"seal": kind, "sealed": True}


def _beside_shares(
    names: Names, state: State, kind: str, config: Mapping[str, Any], backend: Backend | None
) -> dict[str, Any]:
    officers, keyring, root = names.officers, names.keyring, names.keyring.wrapping
    sealed = None if backend is None else seal_root(backend, keyring.deployment, root.id, root.secret)
    # Another passphrase is another person's to know, though it is set to the same: each is approved.
    stands = kind != PASSPHRASE and state.seal == ("" if sealed is None else sealed.description)
    with _settled(officers):
        with writing(names.engine) as connection:
            use = officers.used(connection, Kind.MIGRATE_SEAL, kind, {"config": dict(config)}, stands=stands)
            if use.allowed and sealed is not None:
                officers.kept.prepare(sealed)  # before the commit: a crash after it finds the new seal
        if not use.allowed:
            return officers.pending(Kind.MIGRATE_SEAL, kind, use)
        if sealed is None:
            officers.kept.put_aside()
        else:
            officers.kept.put_in_force()
        use.after()
    return {"seal": kind, "sealed": False}


@contextmanager
def sealing(deciding: "Deciding", state: State, root_id: bytes, root: Secret) -> Iterator[None]:
    """Have the seal beside the shares hold another root key from then on: within it, the change is committed.

    Raises:
        ConflictError: it is a passphrase, which nobody gives here.
        SealError: it cannot be made for the other root key; nothing was changed.
    """
    if state.seal_kind == PASSPHRASE:
        raise ConflictError("the passphrase beside the shares would not open: idvault-keys migrate-seal shares first")
    sealed = None
    if state.seal_kind != SHARES:
        backend = Automatic(state.seal_kind, state.seal_config)
        sealed = seal_root(backend, deciding.keyring.deployment, root_id, root)
    with _settled(deciding):
        if sealed is not None:
            deciding.kept.prepare(sealed)
        yield
        if sealed is not None:
            deciding.kept.put_in_force()


@contextmanager
def _settled(deciding: "Deciding") -> Iterator[None]:
    """Leave the seal in force that the key store says, where what is done within fails."""
    try:
        yield
    except BaseException:
        # What it raises is told first; where this fails too, the next start does it.
        with suppress(Exception):
            deciding.kept.settle(deciding.engine)
        raise
