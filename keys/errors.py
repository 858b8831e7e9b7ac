"""The closed set of errors that `keys` raises; messages are constants and never hold a value."""


class KeysError(Exception):
    """Base of every error of this package; `kind` is what crosses the agent's socket."""

    kind = "internal"
    default = "the key agent failed"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.default)


class OpenError(KeysError):
    """A sealed value does not open: wrong key, tampered, cut or moved; deliberately not told apart."""

    kind = "open"
    default = "the sealed value does not open"


class SealedError(KeysError):
    """The agent holds no keys: it was sealed, locked down, or never unsealed."""

    kind = "sealed"
    default = "the key agent is sealed; unseal it with idvault-keys unseal"


class LockdownError(SealedError):
    """Names are closed; standing stays open."""

    kind = "lockdown"
    default = "names are closed by lockdown"


class RefusedError(KeysError):
    """The evidence for an act does not hold, or the act is not allowed in this state."""

    kind = "refused"
    default = "the key agent refused the act"


class ConflictError(KeysError):
    """The row is no longer in the state the act needs; read again and decide again."""

    kind = "conflict"
    default = "the record is no longer in the state that the act needs"


class HeldError(ConflictError):
    """A legal hold keeps a record from being erased; nothing was changed."""

    kind = "held"
    default = "a legal hold keeps this record"


class BusyError(ConflictError):
    """Another act on the same person is under way, or was left half-way; finish what is due and try again."""

    kind = "busy"
    default = "another act on the same person is under way"


class CandidatesError(ConflictError):
    """The candidates are not those that were shown, or one lacks a verdict."""

    kind = "candidates"
    default = "the candidates are not those that were shown, or one lacks a verdict; reveal again"


class MissingError(KeysError):
    """The agent's store has no such record, sector or reviewer."""

    kind = "missing"
    default = "not known to the key agent"


class EndedError(MissingError):
    """The keys of a sector were destroyed: nothing of it opens any more, for good."""

    kind = "ended"
    default = "the keys of this provider's sector were destroyed"


class ProofError(KeysError):
    """A proof of the log does not show what it is for; deliberately not told why."""

    kind = "proof"
    default = "the proof does not hold"


class NoteError(KeysError):
    """A signed note, checkpoint, tile, proof or policy of the log is not of its format, or no signature holds."""

    kind = "note"
    default = "not of the log's formats"


class OfficerError(KeysError):
    """An officer's file, card, name or passphrase is not of its form; the message says which rule."""

    kind = "officer"
    default = "not an officer's file or card"


class ShareError(KeysError):
    """A share, a set of shares or the record of a ceremony breaks a rule; `fault` says how a share is wrong."""

    kind = "share"
    default = "not a share of this vault"

    def __init__(self, message: str = "", fault: str | None = None) -> None:
        super().__init__(message)
        self.fault = fault


class SealError(KeysError):
    """A seal cannot be made or opened: a setting, a refusal by its backend, a key that is not the one sealed."""

    kind = "seal"
    default = "the seal does not open"


class SealUnreachableError(SealError):
    """The seal's backend does not answer, or cannot now: what was asked for may be tried again."""

    kind = "seal_unreachable"
    default = "the seal's backend does not answer; try again"


class BackupError(KeysError):
    """A backup, its manifest or its key file is not whole, or not of this vault; the message says which part."""

    kind = "backup"
    default = "the backup cannot be used"


class QuorumError(KeysError):
    """A request is not of its form, or may not be carried out: not approved enough, expired, used; it says which."""

    kind = "quorum"
    default = "the request is not approved"


class ChainError(KeysError):
    """A chain of the officers' records does not hold; `number` is the first record that shows it."""

    kind = "chain"
    default = "the chain of officers does not hold"

    def __init__(self, message: str = "", number: int | None = None) -> None:
        super().__init__(message if number is None or not message else f"record {number}: {message}")
        self.number = number


class MessageError(KeysError):
    """What was said between an officer and the agent is not of its form, or is not theirs; it says no more."""

    kind = "message"
    default = "message: not one of an officer to this start of the agent"


class BudgetError(KeysError):
    """The budget of this act is used up for now."""

    kind = "budget"
    default = "the budget of this act is used up; wait or ask the officers to raise it"


class UsesError(KeysError):
    """A version of the key encryption key may seal no more, or it is not known how often it did; the rest goes on."""

    kind = "uses"
    default = "the key encryption key has sealed as often as it may: rotate it, idvault-keys rotate kek"


class CapError(KeysError):
    """A person would have more accounts of a kind than the provider's cap allows; nothing was changed."""

    kind = "cap"
    default = "cap reached"


class ProtocolError(KeysError):
    """A message on the socket is not what the protocol says."""

    kind = "protocol"
    default = "the message is not of the agent's protocol"


class UnavailableError(KeysError):
    """The agent cannot be reached, or went away in the middle of an act."""

    kind = "unavailable"
    default = "the key agent cannot be reached; is it running?"


class SetupError(KeysError):
    """A key, store, seal or setting is missing or wrong at start."""

    kind = "setup"
    default = "the key agent cannot start"


class AlreadyServedError(SetupError):
    """Another agent holds the sockets of this vault."""

    default = "another key agent serves this vault already"


BY_KIND: dict[str, type[KeysError]] = {
    cls.kind: cls
    for cls in (
        KeysError, OpenError, SealedError, LockdownError, RefusedError, ConflictError, HeldError, BusyError,
        CandidatesError, MissingError, EndedError, BudgetError, UsesError, CapError, ProofError, NoteError,
        ProtocolError, UnavailableError, SetupError, SealError, SealUnreachableError, BackupError, OfficerError,
        ShareError,
        QuorumError, ChainError, MessageError,
    )
}  # fmt: skip
