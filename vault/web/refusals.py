"""What the sender of a body sees of its faults: the places and the rules, never a value or a name that was sent."""

from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vault.errors import Kind, VaultError
from vault.web.schemas import VARIANT

MAX_ERRORS: Final = 32
"""How many errors one answer lists."""

_RULES: Final = {
    "missing": "is required",
    "misses": "is required",
    "instead": "stands in place of handle and kind",
    "beside": "stands in place of identity",
    "consent": "must be true",
    "extra_forbidden": "has a member that is not known here",
    "string_type": "must be a string",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "has a character or form that is not allowed here",
    "bool_type": "must be true or false",
    "list_type": "must be an array",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
}
_RULES_WITH_LIMIT: Final = {
    "string_too_long": ("is longer than {} characters", "max_length"),
    "too_short": ("has fewer than {} items", "min_length"),
    "too_long": ("has more than {} items", "max_length"),
    "literal_error": ("must be one of {}", "expected"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than_equal": ("must be at most {}", "le"),
}


def refusal(error: ValidationError) -> VaultError:
    """Return the refusal for what does not fit a schema: JSON pointers and rules, no value and no unknown name."""
    found = error.errors(include_url=False, include_input=False)
    errors = tuple(dict.fromkeys(pair for one in found[: 2 * MAX_ERRORS] for pair in _places(one)))
    return VaultError(Kind.VALIDATION, "mend the members listed and send again", errors=errors[:MAX_ERRORS])


def _places(error: ErrorDetails) -> list[tuple[str, str]]:
    kind, context = error["type"], error.get("ctx", {})
    # The name of an unknown member is input: only its parent is named.
    place = error["loc"][:-1] if kind == "extra_forbidden" else error["loc"]
    pointer = "".join(f"/{step}" for step in place if not str(step).startswith(VARIANT))
    if kind in _RULES_WITH_LIMIT:
        text, limit = _RULES_WITH_LIMIT[kind]
        return [(pointer, text.format(context[limit]))]
    rule = _RULES.get(kind, "is not valid")
    members = context.get("members")
    return [(pointer, rule)] if members is None else [(f"{pointer}/{member}", rule) for member in members]
