"""What is answered ahead of Flask's dispatch, which costs a worker as much as all else that it does for such a request.

Guarantees: the same checks, answers, headers and log line as through the dispatch. What is not plain goes through the
dispatch, and whatever is refused is answered in the one place for refusals (`vault/web/app.py`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ahead:
    """One route that takes POST: which requests for its path are plain, and what answers them."""

    path: str
    is_plain: Callable[[Mapping[str, Any]], bool]
    answer: Callable[[dict[str, Any]], tuple[int, bytes]]
    """From a WSGI environ to status and body in JSON; leaves the client's id in the environ."""
