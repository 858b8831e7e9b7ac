"""Settings: built once at start from the environment and one TOML file, then passed down. Unknown keys stop the start.

Every limit of the service is here, with its unit in its name.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from keys.agent import settings as agent_settings
from keys.agent.settings import socket_folder
from keys.errors import SetupError
from vault.errors import StartError

STORES: Final = ("identity", "directory", "keys", "log")
SANCTION_RETENTION_DAYS_MIN: Final = 183
"""Six months (China's rules of 2017 and Cybersecurity Law, article 21)."""
BAN_YEARS_MAX: Final = 5
ROLES: Final = ("all", "directory", "identity")
_PREFIX: Final = "IDVAULT_"
_BIND: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^:\[\]\s]+):[0-9]{1,5}", re.ASCII)
_ISSUER: Final = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9A-Fa-f:]+\](:[0-9]{1,5})?", re.ASCII)
_CONTACT: Final = re.compile(r"mailto:[!-?A-~]+@[!-?A-~]+|https://[!-~]+|tel:\+[0-9-]+", re.ASCII)
_ORIGIN: Final = re.compile(r"[A-Za-z0-9.:/_\[\]-]{1,255}", re.ASCII)
_MOST_LEAVES: Final = 10_000
"""What one act of the agent takes."""
_REFUSERS: Final = 8
_LAST_PORT: Final = 65_535
_DAY_HOURS: Final = 24
_MAY_BE_NONE: Final = frozenset({"introspection_cache_entries"})
_MOST_ITEMS: Final = 1000
"""What one act of the agent takes."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of one vault. In the environment each is IDVAULT_ and its name in capitals."""

    home: Path = Path("var")
    """The folder of an embedded vault: stores, seal, sockets."""
    bind: str = "127.0.0.1:8400"
    issuer: str = ""
    """The URL by which clients know the vault, without a path; default: http and the address it serves on."""
    security_contact: str = ""
    """Whom to tell of a weakness, a URI; default: the mailbox `security` at the issuer's host (RFC 2142)."""
    identity_url: str = ""
    directory_url: str = ""
    keys_url: str = ""
    log_url: str = ""
    """Store URLs, without passwords; without them the embedded SQLite files in the home folder."""
    agent: Path = Path()
    """The folder of the agent's sockets; default: `agent` in the home folder."""
    role: str = "all"
    allow_role_all_beside_a_separate_agent: str = "no"
    """`yes` serves all routes under one user although the agent has its own: who takes over a worker has both roles."""
    workers: int = 2
    blocking_threads: int = 8
    """Requests that a worker serves at once, and registrations that are made together; a slow client holds one."""
    client_requests_per_second: int = 20_000
    """Requests of one client that a worker answers; the next is refused with 429. More than a worker bears."""
    waiting_requests: int = 64
    """Requests that wait in a worker for their turn; the next is refused at once with 503."""
    waiting_milliseconds: int = 2000
    """How long one waits before it is refused."""
    listening_requests: int = 32
    """Requests for events that wait in a worker, beside its work; one more is answered at once."""
    overload_retry_seconds: int = 1
    """What a refused caller is told to wait (Retry-After)."""
    sequencer: str = "yes"
    """`no` leaves the log to another process, `idvault sequencer`; with the role `all`, `serve` has one beside it."""
    sequencer_directory_url: str = ""
    sequencer_log_url: str = ""
    """How the sequencer reaches those two stores; on PostgreSQL it has roles of its own. Default: as the workers do."""
    log_origin: str = ""
    """The name that the log is signed by, an address without a scheme; default: the issuer's, and /log. Set for good by
    the first checkpoint."""
    log_policy: Path = Path()
    """The policy file (c2sp.org/tlog-policy) of the witnesses that are asked to sign; those with a URL are."""
    log_milliseconds: int = 1000
    """How long the sequencer rests between two rounds."""
    log_rows: int = 4096
    """How many rows of an outbox one round takes at most."""
    access_token_seconds: int = 600
    lease_seconds: int = 600
    idempotency_running_seconds: int = 3
    """How long a request with a key counts as running after its worker was last seen."""
    idempotency_hours: int = 24
    creation_grace_minutes: int = 10
    """How long an unfinished registration waits for its late writer before it is removed."""
    housekeeping_seconds: int = 2
    housekeeping_rows: int = 5000
    """About how many rows of a kind one round of housekeeping deletes at most."""
    rejected_days: int = 30
    """How long the record of a rejected registration stays."""
    evidence_days: int = 14
    """How long evidence that was not faulted stays after a registration was returned and is not sent in again."""
    event_days: int = 30
    """How long a provider can be told of an event; who does not ask for so long compares what he holds."""
    import_results_days: int = 30
    """How long an import can be listed and approved as one after it was begun."""
    spread_hours: int = 24
    """Within what time an act's effects show at other providers, at each at a random moment; 0 with the development
    seal."""
    ban_years_max: int = 5
    """How long a person who was closed is kept out, where the sanction names no end; at most five."""
    sanction_retention_days: int = 730
    """How long a sanction stays on record after it ended or was lifted; at least half a year."""
    secret_overlap_hours: int = 168
    """How long a client's former secret is good after a new one was made."""
    import_undo_hours: int = 72
    import_step_seconds: int = 5
    """How long one request goes on undoing or approving an import."""
    page_items: int = 50
    page_items_max: int = 200
    max_body_bytes: int = 65_536
    batch_items_max: int = 1000
    operators_max: int = 100
    """Operators of one account."""
    introspection_cache_entries: int = 10_000
    """Answers that a worker remembers, where it is told of each change of the directory; 0 remembers none."""
    directory_changes: Path = Path()
    """The file by which the processes of one machine tell each other of changes of a directory on PostgreSQL; all that
    write it name the same, or none: then nothing is remembered. That of a SQLite file lies beside it."""
    max_batch_bytes: int = 4 * 1024 * 1024
    max_evidence_bytes: int = 10 * 1024 * 1024
    busy_seconds: int = 5
    """How long a writer waits for the store before the request is answered 503."""

    def store_url(self, store: str) -> str:
        """Return the URL of a store."""
        url: str = getattr(self, f"{store}_url")
        return url or f"sqlite:///{self.home.resolve() / store}.db"

    def sequencer_url(self, store: str) -> str:
        """Return the URL by which the sequencer reaches the directory or the log."""
        url: str = getattr(self, f"sequencer_{store}_url")
        return url or self.store_url(store)

    @property
    def sequences(self) -> bool:
        """Whether the log is this vault's own to write; else another process does: it needs what no single role has."""
        return self.role == "all" and self.sequencer != "no"

    @property
    def origin(self) -> str:
        """The name of the log at its first checkpoint."""
        return self.log_origin or f"{self.issuer_url.partition('://')[2]}/log"

    @property
    def role_stores(self) -> tuple[str, ...]:
        """The stores that a worker of this role opens; the key store is the agent's."""
        return ("directory", "log") if self.role == "directory" else ("identity", "directory", "log")

    @property
    def role_sockets(self) -> tuple[str, ...]:
        """The agent's sockets without which a worker of this role is not ready."""
        return ("directory",) if self.role == "directory" else ("directory", "identity")

    @property
    def threads(self) -> int:
        """Threads a worker: that work, that are answered in a line, that wait, that listen, and a few more.

        The last refuse, and answer what is always answered.
        """
        return 2 * self.blocking_threads + self.waiting_requests + self.listening_requests + _REFUSERS

    @property
    def embedded(self) -> bool:
        """Whether no store URL is set."""
        return not any(getattr(self, f"{store}_url") for store in STORES)

    @property
    def sockets(self) -> Path:
        """The folder of the agent's sockets."""
        return self.agent if self.agent != Path() else socket_folder(self.home)

    @property
    def issuer_url(self) -> str:
        """The issuer of the OAuth metadata and of signed answers."""
        return self.issuer or f"http://{self.bind}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port to serve on."""
        host, _, port = self.bind.rpartition(":")
        return host.strip("[]"), int(port)


def load(environment: Mapping[str, str] | None = None) -> Settings:
    """Return the settings of an environment and of the TOML file that IDVAULT_CONFIG names.

    Raises:
        StartError: an unknown key, or a value of the wrong type; it names the key.
    """
    environment = os.environ if environment is None else environment
    given: dict[str, Any] = {}
    config = environment.get(_PREFIX + "CONFIG")
    if config:
        try:
            given |= tomllib.loads(Path(config).read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            raise StartError("IDVAULT_CONFIG: the file cannot be read as TOML") from None
    for name, value in environment.items():
        if name.startswith(_PREFIX) and name != _PREFIX + "CONFIG" and name not in agent_settings.NAMES:
            given[name.removeprefix(_PREFIX).lower()] = value
    known = {field.name: field for field in fields(Settings)}
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise StartError(f"{unknown[0]}: no such setting")
    typed: dict[str, Any] = {name: _typed(name, known[name].default, value) for name, value in given.items()}
    settings = Settings(**typed)
    _check(settings)
    try:
        agent_settings.limits(environment, development_seal=True)
        agent_settings.peers(environment)
        agent_settings.mirror(environment)
    except SetupError as error:
        raise StartError(str(error)) from None
    return settings


def _typed(name: str, default: object, value: object) -> object:
    try:
        if isinstance(default, int) and not isinstance(value, bool):
            return int(str(value))
    except (TypeError, ValueError):
        raise StartError(f"{name}: not of the right type") from None
    if not isinstance(value, str):
        raise StartError(f"{name}: not of the right type")
    return Path(value) if isinstance(default, Path) else value


def _check(settings: Settings) -> None:
    if settings.role not in ROLES:
        raise StartError(f"role: one of {', '.join(ROLES)}")
    if settings.sequencer not in {"yes", "no"}:
        raise StartError("sequencer: yes or no")
    if settings.allow_role_all_beside_a_separate_agent not in {"yes", "no"}:
        raise StartError("allow_role_all_beside_a_separate_agent: yes or no")
    if not _BIND.fullmatch(settings.bind) or not 1 <= settings.address[1] <= _LAST_PORT:
        raise StartError("bind: host:port, such as 127.0.0.1:8400 or [::1]:8400")
    if settings.issuer and not _ISSUER.fullmatch(settings.issuer):
        raise StartError(
            "issuer: http or https and a host, such as https://vault.example; no path, no slash at the end"
        )
    if settings.security_contact and not _CONTACT.fullmatch(settings.security_contact):
        raise StartError("security_contact: a URI that begins with mailto:, https:// or tel:+")
    if not _ORIGIN.fullmatch(settings.origin):
        raise StartError("log_origin: an address without a scheme, a space or a plus, such as vault.example/log")
    _check_numbers(settings)


def _check_numbers(settings: Settings) -> None:
    if settings.log_rows > _MOST_LEAVES:
        raise StartError(f"log_rows: at most {_MOST_LEAVES}")
    if settings.batch_items_max > _MOST_ITEMS:
        raise StartError(f"batch_items_max: at most {_MOST_ITEMS}")
    for field in fields(settings):
        value = getattr(settings, field.name)
        least = int(field.name not in _MAY_BE_NONE)
        if isinstance(value, int) and value < least:
            raise StartError(f"{field.name}: at least {least}")
    if settings.sanction_retention_days < SANCTION_RETENTION_DAYS_MIN:
        raise StartError(f"sanction_retention_days: at least {SANCTION_RETENTION_DAYS_MIN}")
    undo_days = -(-settings.import_undo_hours // _DAY_HOURS)
    if settings.import_results_days < undo_days:
        raise StartError(f"import_results_days: at least {undo_days}")
    if settings.ban_years_max > BAN_YEARS_MAX:
        raise StartError(f"ban_years_max: at most {BAN_YEARS_MAX}")
