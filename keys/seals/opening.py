"""Opening a vault by the seal in its home folder: the root key, and that it is this vault's, as it was left."""

from pathlib import Path

from sqlalchemy import Engine

from keys.chains import Chain
from keys.entries import OFFICER_HEAD
from keys.errors import RefusedError, SealError
from keys.keyring import Keyring
from keys.primitives import Secret
from keys.seals.automatic import Automatic
from keys.seals.configs import AUTOMATIC
from keys.seals.sealed import FILE_NAME, Backend, read


def opened(engine: Engine, home: Path, backend: Backend | None) -> tuple[bytes, Secret]:
    """Return (root id, root key) by the seal's file.

    Args:
        engine: of the key store.
        home: of the agent.
        backend: what opens it; None for the one that the file names.

    Raises:
        SealError: it does not open; SealUnreachableError where it may be tried again.
        SetupError, OpenError, ChainError: what it opens is not this key store, or not as it was left.
        RefusedError: it is not the one that officers approved.
    """
    sealed = read(home / FILE_NAME)
    if sealed is None:
        raise SealError("there is no seal any more; officers open the vault")
    root = sealed.open(backend if backend is not None else Automatic(sealed.kind, sealed.config))
    keys = Keyring.of_earlier_version(engine, sealed.root_id, root)
    state = Chain(engine, keys, home).state() if keys.has(OFFICER_HEAD) else None
    approved = sealed.kind not in AUTOMATIC if state is None else state.seal == sealed.description
    if not approved:
        raise RefusedError("the seal is not the one that officers approved")
    return sealed.root_id, root
