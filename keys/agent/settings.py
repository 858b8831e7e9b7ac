"""Where the agent finds its store, its seal and its sockets."""

import hashlib
import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from keys.agent.names import Limits
from keys.seals import development

SOCKETS: Final = ("directory", "identity", "exchange", "officer")
_MAX_SOCKET_PATH_BYTES: Final = 100
"""sockaddr_un.sun_path holds 108 bytes (unix(7)); some are kept for the longest name."""

_LAST_RESORT: Final = Path("/tmp")  # noqa: S108 - the folder in it is the user's own, or refused
"""Where sockets go when the path of the temporary folder is too long as well."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One agent's settings; `uids` may connect to a socket, by its name, besides the agent's own uid."""

    home: Path
    keys_url: str
    sockets: Path
    limits: Limits = field(default_factory=Limits)
    uids: dict[str, frozenset[int]] = field(default_factory=dict)

    @property
    def seal(self) -> Path:
        """The seal's file."""
        return self.home / development.FILE_NAME

    @property
    def shut(self) -> Path:
        """The file that keeps `seal` and `lockdown` in force across restarts."""
        return self.home / "agent.shut"


def socket_folder(home: Path) -> Path:
    """Return where a home's sockets lie: in it, or in a short folder of the user where its path is too long."""
    name = f"idvault-{os.getuid()}-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:16]}"
    for folder in (home.resolve() / "agent", Path(tempfile.gettempdir()) / name):
        if len(os.fsencode(folder / "directory.sock")) <= _MAX_SOCKET_PATH_BYTES:
            return folder
    return _LAST_RESORT / name
