"""The states of a key and the ways between them (NIST SP 800-57 part 1 revision 5, section 7).

    pre-active → active ⇄ suspended → deactivated → compromised → destroyed

Guarantees: what is not active protects nothing; what is destroyed stays so; nothing leads back to a state in which a
key that was retired protects again.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from keys.errors import ConflictError


class State(StrEnum):
    """Key states."""

    PRE_ACTIVE = "pre-active"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    DEACTIVATED = "deactivated"
    COMPROMISED = "compromised"
    DESTROYED = "destroyed"


MAY_PROTECT: Final = frozenset((State.ACTIVE,))
MAY_PROCESS: Final = frozenset((State.ACTIVE, State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED))
TRANSITIONS: Final[Mapping[State, frozenset[State]]] = MappingProxyType({
    State.PRE_ACTIVE: frozenset((State.ACTIVE, State.COMPROMISED, State.DESTROYED)),
    State.ACTIVE: frozenset((State.SUSPENDED, State.DEACTIVATED, State.COMPROMISED)),
    State.SUSPENDED: frozenset((State.ACTIVE, State.DEACTIVATED, State.COMPROMISED)),
    State.DEACTIVATED: frozenset((State.COMPROMISED, State.DESTROYED)),
    State.COMPROMISED: frozenset((State.DESTROYED,)),
    State.DESTROYED: frozenset(),
})  # fmt: skip
"""From each state, where a key may go: figure 3. The last active key of a purpose goes nowhere: `Keyring.move`."""


def check_transition(before: State, after: State) -> None:
    """Check that a key may go from one state to another.

    Raises:
        ConflictError: it may not.
    """
    if after not in TRANSITIONS[before]:
        raise ConflictError(f"a key that is {before} does not become {after}")
