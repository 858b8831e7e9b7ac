"""What a registration is on its way through the stores: the request it is part of, its ids, its rows and records."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keys.primitives import Secret, expand_sha256
from vault.domain.errors import InvalidFieldError
from vault.errors import VaultError
from vault.services.access import Client
from vault.services.idempotency import Answer, Attempt
from vault.services.submissions import Submission, Wish
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow, StandingRow

_ID_BYTES: Final = 16
_IDS_LABEL: Final = b"idvault/v1/registration-ids"
Refused = VaultError | InvalidFieldError
Results = list[dict[str, Any] | Refused]
Answering = Callable[[Results], Answer]


@dataclass(frozen=True, slots=True)
class Ids:
    """What is drawn for one registration; a pid of a representative is used where there is one."""

    pid: bytes
    reg: bytes
    account: bytes
    representative: bytes

    @classmethod
    def of(cls, seed: bytes, index: int) -> "Ids":
        """Return the ids of one item of a request: the same ones at each try, since its seed is stored first."""
        info = _IDS_LABEL + index.to_bytes(4, "big")
        drawn = expand_sha256(Secret(seed), info, 4 * _ID_BYTES).expose_cleartext()
        return cls(*(drawn[at : at + _ID_BYTES] for at in range(0, len(drawn), _ID_BYTES)))


@dataclass(frozen=True, slots=True)
class Order:
    """One request: what is to be made, or why it is not, and who makes its answer."""

    client: Client
    wishes: Sequence[Wish | Refused]
    attempt: Attempt
    answering: Answering
    results: Results = field(init=False)
    """What became of each item, filled in on the way."""
    ids: list[Ids] = field(init=False)

    def __post_init__(self) -> None:
        results: Results = [{} if isinstance(one, Wish) else one for one in self.wishes]
        object.__setattr__(self, "results", results)
        object.__setattr__(self, "ids", [Ids.of(self.attempt.ids, place) for place in range(len(self.wishes))])


@dataclass(frozen=True, slots=True)
class Draft:
    """A registration on its way; `place` is its place in its request."""

    order: Order
    place: int
    submission: Submission
    standing: StandingRow
    account: AccountRow
    review: ReviewRow
    representative: StandingRow | None
    key: str | None
    """What the handle is unique by; None where the standing and its account stand already."""

    @property
    def exists(self) -> bool:
        """Whether the standing and its account stand already."""
        return self.key is None

    @property
    def standings(self) -> list[StandingRow]:
        """The standings that get a record, as the submission's statements are ordered."""
        return [self.standing] if self.representative is None else [self.standing, self.representative]


@dataclass(frozen=True, slots=True)
class Made:
    """A draft with the records that the agent drew for it."""

    draft: Draft
    given: Sequence[Mapping[str, Any]]

    @property
    def rids(self) -> list[bytes]:
        """Its records."""
        return [given["rid"] for given in self.given]
