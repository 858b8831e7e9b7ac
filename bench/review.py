"""Reviews all that waits, over the API, as a reviewer's own tool would: what matches nobody together, then one by one.

`python -m bench.review URL CLIENT_ID SECRET_FILE IMPORT…`; the secret is a vault reviewer's.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click
import httpx

_BULK: Final = {"decision": "approved", "method": "provider_attested"}
_NOTHING: Final = 204
_UNAUTHENTICATED: Final = 401


class Reviewer:
    """A vault reviewer at work."""

    def __init__(self, http: httpx.Client, client_id: str, secret: str) -> None:
        self._http, self._auth = http, (client_id, secret)
        self._authorise()

    def _authorise(self) -> None:
        answer = self._http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=self._auth)
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def _call(self, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = self._http.post(path, json=body)
        if answer.status_code == _UNAUTHENTICATED:
            self._authorise()
            answer = self._http.post(path, json=body)
        return answer.raise_for_status()

    def approve_import(self, imported: str) -> int:
        """Approve what matches nobody; return how many."""
        approved = 0
        body: dict[str, Any] = dict(_BULK)
        while True:
            told = self._call(f"/v1/imports/{imported}/decision", body).json()
            approved += int(told["approved"])
            if "next" not in told:
                return approved
            body["cursor"] = told["next"]

    def approve_rest(self) -> tuple[int, int]:
        """Review what is left, one case after another; return how many, and how many of them were returners."""
        reviewed = returners = 0
        while (leased := self._call("/v1/reviews/next", {})).status_code != _NOTHING:
            case = f"/v1/reviews/{leased.json()['id']}"
            seen = self._call(f"{case}/reveal", {"purpose": "review", "fields": ["legal_name"]}).json()
            # Who has the same document is united without being asked for; who has another is another.
            verdicts = [{"id": one["id"], "verdict": "other_person"} for one in seen["candidates"]]
            decision: dict[str, Any] = {"decision": "approved", "method": "document_checked"}
            if verdicts:
                decision |= {"candidates": verdicts, "shown": seen["shown"]}
            self._call(f"{case}/decision", decision)
            reviewed, returners = reviewed + 1, returners + bool(seen["returner"])
        return reviewed, returners


def review(url: str, client_id: str, secret: str, imports: Sequence[str]) -> dict[str, int]:
    """Review everything; return {alone, reviewed, returners}."""
    with httpx.Client(base_url=url, timeout=60) as http:
        reviewer = Reviewer(http, client_id, secret)
        alone = sum(reviewer.approve_import(imported) for imported in imports)
        reviewed, returners = reviewer.approve_rest()
    return {"alone": alone, "reviewed": reviewed, "returners": returners}


@click.command()
@click.argument("url")
@click.argument("client_id")
@click.argument("secret_file", type=click.Path(exists=True, path_type=Path))
@click.argument("imports", nargs=-1)
def main(url: str, client_id: str, secret_file: Path, imports: tuple[str, ...]) -> None:
    """Review all imported people, and what else waits."""
    click.echo(json.dumps(review(url, client_id, secret_file.read_text().strip(), imports)))


if __name__ == "__main__":
    main()
