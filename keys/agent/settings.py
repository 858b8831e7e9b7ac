"""Where the agent finds its store, its seal and its sockets, who may connect to each, and its own limits.

Guarantees that a setting which is not usable stops the start; the message names the setting, never the value.
"""

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from keys.agent.names import Limits
from keys.errors import SetupError
from keys.seals.configs import AUTOMATIC, DEVELOPMENT
from keys.seals.sealed import FILE_NAME, kind_at
from keys.uses import MOST as MOST_USES

SOCKETS: Final = ("directory", "identity", "exchange", "officer", "outbox", "log", "message")
MATCH_TICK_SECONDS: Final = 3600
"""The common tick where no setting names one; with the development seal it is 0."""
MOST: Final[Mapping[str, int]] = {"handoff_seconds": 300, "match_tick_seconds": 86_400, "kek_uses": MOST_USES}
"""The greatest value of a limit; a hand-off lives five minutes at most."""
LEAST: Final[Mapping[str, int]] = {"match_tick_seconds": 0}
"""The least value of a limit, where it is not 1."""
EMBEDDED: Final = (
    "embedded: everything runs under one user, so that promises 3 (one door) and 4 (no lone hand) hold against "
    "thieves, not against a worker that was taken over (SECURITY.md)"
)
"""What who runs it so is told, by whichever program."""
_WORKERS: Final = ("directory", "identity", "exchange")
"""Where workers connect."""
_PREFIX: Final = "IDVAULT_"
_NUMBER: Final = re.compile(r"[0-9]{1,9}", re.ASCII)
_LIMIT: Final = re.compile(r"[0-9]{1,10}", re.ASCII)
_UIDS: Final = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*", re.ASCII)
_LIMITS: Final = {_PREFIX + one.name.upper(): one.name for one in fields(Limits)}
_DOORS: Final = {f"{_PREFIX}{name.upper()}_SOCKET_{what}": name for name in SOCKETS for what in ("UIDS", "GID")}
MIRROR: Final = "IDVAULT_LOG_MIRROR"
NAMES: Final = frozenset((*_LIMITS, *_DOORS, MIRROR))
"""The environment variables that are the agent's alone; `idvault serve` hands them on to the agent it starts."""
_MAX_SOCKET_PATH_BYTES: Final = 100
"""sockaddr_un.sun_path holds 108 bytes (unix(7)); some are kept for the longest name."""

_LAST_RESORT: Final = Path("/tmp")  # noqa: S108 - the folder in it is the user's own, or refused


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent's settings.

    `uids` may connect to a socket, by its name, besides the agent's own uid; `gids` owns the socket's file, so that
    they can.
    """

    home: Path
    keys_url: str
    sockets: Path
    limits: Limits = field(default_factory=Limits)
    uids: Mapping[str, frozenset[int]] = field(default_factory=dict)
    gids: Mapping[str, int] = field(default_factory=dict)
    mirror: Path | None = None
    """A folder with a mirror of the log, which is asked for its newest checkpoint before names are opened."""

    @property
    def seal(self) -> Path:
        """The seal's file."""
        return self.home / FILE_NAME

    @property
    def opens_by_itself(self) -> bool:
        """Whether there is a seal that opens without anybody: the development seal, or one of a key elsewhere."""
        return self.seal_kind in {DEVELOPMENT, *AUTOMATIC}

    @property
    def development(self) -> bool:
        """Whether the vault has the development seal."""
        return self.seal_kind == DEVELOPMENT

    @property
    def embedded(self) -> bool:
        """Whether workers run under the agent's own user: no other may connect to where they do."""
        return not any(self.uids.get(name, frozenset()) - {os.geteuid()} for name in _WORKERS)

    @property
    def seal_kind(self) -> str:
        """By what the root key is kept: shares that officers have, or a seal besides or instead of them."""
        return kind_at(self.seal)

    @property
    def shut(self) -> Path:
        """The file that keeps `seal` and `lockdown` in force across restarts."""
        return self.home / "agent.shut"


def limits(environment: Mapping[str, str], *, development_seal: bool) -> Limits:
    """Return the agent's limits: IDVAULT_ and the name of each in capitals.

    Raises:
        SetupError: not a whole number, or out of its range; it names the setting.
    """
    given = {}
    for variable, name in _LIMITS.items():
        if variable in environment:
            least, most = LEAST.get(name, 1), MOST.get(name, 10**9 - 1)
            text = environment[variable]
            if not _LIMIT.fullmatch(text) or not least <= int(text) <= most:
                raise SetupError(f"{variable}: a whole number from {least} to {most}")
            given[name] = int(text)
    return Limits(**{"match_tick_seconds": 0 if development_seal else MATCH_TICK_SECONDS, **given})


def peers(environment: Mapping[str, str]) -> tuple[dict[str, frozenset[int]], dict[str, int]]:
    """Return who may connect to which socket: its uids, and the group that its file belongs to.

    Raises:
        SetupError: not numbers, or one of the two without the other.
    """
    uids, gids = {}, {}
    for name in SOCKETS:
        users, group = (f"{_PREFIX}{name.upper()}_SOCKET_{what}" for what in ("UIDS", "GID"))
        if (users in environment) != (group in environment):
            raise SetupError(f"{users} and {group}: set both, or none")
        if users not in environment:
            continue
        if not _UIDS.fullmatch(environment[users]) or not _NUMBER.fullmatch(environment[group]):
            raise SetupError(f"{users} and {group}: numbers, such as 901,902 and 901")
        uids[name] = frozenset(int(uid) for uid in environment[users].split(","))
        gids[name] = int(environment[group])
    return uids, gids


def mirror(environment: Mapping[str, str]) -> Path | None:
    """Return the folder of the log's mirror, if one is named.

    Raises:
        SetupError: there is no such folder.
    """
    if MIRROR not in environment:
        return None
    folder = Path(environment[MIRROR])
    if not folder.is_dir():
        raise SetupError(f"{MIRROR}: a folder, as idvault log mirror fills it")
    return folder


def socket_folder(home: Path) -> Path:
    """Return where a home's sockets lie: in it, or in a short folder of the user where its path is too long."""
    name = f"idvault-{os.getuid()}-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]}"
    for folder in (home.resolve() / "agent", Path(tempfile.gettempdir()) / name):
        if len(os.fsencode(folder / "directory.sock")) <= _MAX_SOCKET_PATH_BYTES:
            return folder
    return _LAST_RESORT / name
