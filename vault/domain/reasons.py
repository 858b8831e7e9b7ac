"""Reason codes of decisions and splits: closed lists, so that no reviewer writes a name where a provider reads it.

What a provider can read says nothing of matches, conflicts or unions.
"""

from typing import Final, Literal, get_args

Refusal = Literal[
    "unreadable", "incomplete", "name_differs", "birth_date_differs", "number_differs", "document_expired",
    "document_not_accepted", "evidence_missing", "evidence_altered", "not_the_holder", "not_the_representative",
    "handle_not_allowed", "policy", "other",
]  # fmt: skip
"""Why a registration, or an account alone, is returned or rejected."""
Match = Literal["another_person", "undecided"]
"""Why a match is rejected: no provider sees it."""
Split = Literal["wrong_verdict", "wrong_document", "person_objects", "other"]
"""Why a union is taken back."""
REFUSALS: Final = frozenset(get_args(Refusal))
MATCHES: Final = frozenset(get_args(Match))
