"""What an installation sets besides the agent's own limits: settings that keys and service share, and their names.

Guarantees that a name which nothing reads stops the start, and that the message names it and never the value. The
service's own names are known here and nothing of what they mean: its units and the agent's read one file.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keys.agent.settings import NAMES
from keys.errors import SetupError

SHARED: Final = ("home", "agent", "keys_url")
"""What keys and service both read, in the environment or in the TOML file that IDVAULT_CONFIG names."""
SERVICE: Final = frozenset({
    *SHARED, "access_token_seconds", "allow_role_all_beside_a_separate_agent", "ban_years_max", "batch_items_max",
    "bind", "blocking_threads", "busy_seconds", "client_requests_per_second", "creation_grace_minutes",
    "directory_changes", "directory_url", "event_days", "evidence_days", "housekeeping_rows", "housekeeping_seconds",
    "idempotency_hours", "idempotency_running_seconds", "identity_url", "import_results_days", "import_step_seconds",
    "import_undo_hours", "introspection_cache_entries", "issuer", "lease_seconds", "listening_requests",
    "log_milliseconds", "log_origin", "log_policy", "log_rows", "log_url", "max_batch_bytes", "max_body_bytes",
    "max_evidence_bytes", "operators_max", "overload_retry_seconds", "page_items", "page_items_max", "rejected_days",
    "role", "sanction_retention_days", "secret_overlap_hours", "security_contact", "sequencer",
    "sequencer_directory_url", "sequencer_log_url", "spread_hours", "waiting_milliseconds", "waiting_requests",
    "workers",
})  # fmt: skip
"""The settings of the service (vault.config), of which a test holds the one list against the other."""
_PREFIX: Final = "IDVAULT_"
_CONFIG: Final = "IDVAULT_CONFIG"


def check_names(environment: Mapping[str, str]) -> None:
    """Check that each variable of this program is a setting.

    Raises:
        SetupError: one is not; it names the first.
    """
    known = {_CONFIG, *NAMES, *(_PREFIX + name.upper() for name in SERVICE)}
    unknown = sorted(name for name in environment if name.startswith(_PREFIX) and name not in known)
    if unknown:
        raise SetupError(f"{unknown[0]}: no such setting")


def in_file(environment: Mapping[str, str]) -> dict[str, str]:
    """Return those of `SHARED` that the TOML file sets, if one is named; what the environment sets comes before them.

    Raises:
        SetupError: the file cannot be read, or says what is no setting or not of the right type.
    """
    if not environment.get(_CONFIG):
        return {}
    try:
        found = tomllib.loads(Path(environment[_CONFIG]).read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
        raise SetupError(f"{_CONFIG}: the file cannot be read as TOML") from None
    unknown = sorted(found.keys() - SERVICE)
    if unknown:
        raise SetupError(f"{unknown[0]}: no such setting")
    for name in SHARED:
        if not isinstance(found.get(name, ""), str):
            raise SetupError(f"{name}: not of the right type")
    return {name: found[name] for name in SHARED if name in found}
