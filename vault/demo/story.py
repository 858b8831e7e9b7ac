"""The story: two providers, a reviewer, a person, a returner, an impostor, a thief. Each scene checks what it says."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final

from vault.demo.stage import Answer, Party, Stage
from vault.demo.thief import Loot, look, steal
from vault.domain.clock import SystemClock, to_text

ANNA: Final[Mapping[str, Any]] = {
    "legal_name": "ANNA MARIA ERIKSSON",
    "birth_date": "1974-08-12",
    "document": {"type": "passport", "country": "UTO", "number": "L898902C3", "expires": "2031-04-15"},
}
_MRZ: Final = ("P<UTOERIKSSON<<ANNA<MARIA<<<<<<<<<<<<<<<<<<<", "L898902C36UTO7408122F1204159ZE184226B<<<<<10")
BRUNO: Final[Mapping[str, Any]] = {
    "legal_name": "BRUNO SPECIMEN",
    "birth_date": "1980-02-29",
    "document": {"type": "passport", "country": "UTO", "number": "B12345678"},
}
_PERSONAL: Final = (
    "ANNA MARIA ERIKSSON", "ERIKSSON", "1974-08-12", "740812", "L898902C3", "BRUNO SPECIMEN", "SPECIMEN", "1980-02-29",
    "B12345678", "+46700000000", "anna@example.org",
)  # fmt: skip
PURPOSE: Final = "abuse_report"


class DemoError(Exception):
    """The vault did not do what the story says; the message names the claim."""


@dataclass(frozen=True, slots=True)
class Scene:
    """One scene: what happened, and what each party saw of it."""

    title: str
    seen: Mapping[str, str]


def _claim(claim: str, *, holds: bool) -> None:
    if not holds:
        raise DemoError(claim)


def _ok(answer: Answer, *statuses: int) -> dict[str, Any]:
    _claim(
        f"an answer with status {statuses or (200,)}, not {answer.status}", holds=answer.status in (statuses or (200,))
    )
    return answer.body


class Story:
    """The parties and what they know; `play` yields scene after scene."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._chat, self._blog = stage.provider("Chat"), stage.provider("Blog")
        self._rita = stage.reviewer("Rita")
        self.loot: Loot | None = None

    def play(self) -> Iterator[Scene]:
        """Play the story.

        Raises:
            DemoError: something did not happen as told.
        """
        anna = self._register(self._chat, "anna_l", ANNA)
        yield Scene("Anna registers at Chat with her passport", {
            "Person": "gives her real name once, picks the handle anna_l",
            "Chat": f"token {_short(anna['token'])}, state in_review, may {anna['scope']}",
        })  # fmt: skip
        yield self._reviewed(anna)
        yield self._impostor(anna)
        erika = self._register(self._blog, "erika", ANNA)
        self._approve(erika)
        yield self._two_tokens(anna, erika)
        yield self._exchanged(anna, erika)
        yield self._sanctioned(anna, erika)
        yield self._returned(anna, erika)
        yield self._left()
        yield self._stolen()

    def _register(self, provider: Party, handle: str, identity: Mapping[str, Any]) -> dict[str, Any]:
        body = {"handle": handle, "kind": "public", "accepts": {"terms": "2026-01", "truthful": True}}
        return _ok(provider.call("POST", "/v1/registrations", {**body, "identity": dict(identity)}), 202)

    def _reveal(self, made: Mapping[str, Any]) -> dict[str, Any]:
        body = {"purpose": "review", "fields": ["legal_name", "birth_date", "document"]}
        return _ok(self._rita.call("POST", f"/v1/reviews/{made['id']}/reveal", body))

    def _decide(self, made: Mapping[str, Any], decision: str, reason: str) -> None:
        body = {"decision": decision, "reason": reason}
        _ok(self._rita.call("POST", f"/v1/reviews/{made['id']}/decision", body))

    def _approve(self, made: Mapping[str, Any]) -> None:
        self._decide(made, "approved", "document_checked")

    def _introspect(self, provider: Party, made: Mapping[str, Any]) -> dict[str, Any]:
        return _ok(provider.form("/oauth/introspect", token=made["token"], account=made["account"]))

    def _reviewed(self, anna: Mapping[str, Any]) -> Scene:
        shown = self._reveal(anna)
        self._approve(anna)
        after = self._introspect(self._chat, anna)
        _claim("an approved account may publish", holds=after["scope"] == "read publish")
        return Scene("A reviewer looks at the evidence and approves", {
            "Rita": f"sees {shown['fields']['legal_name']}; each look is an audit row",
            "Chat": f"may {after['scope']}; no name, no number",
        })  # fmt: skip

    def _impostor(self, anna: Mapping[str, Any]) -> Scene:
        before = self._introspect(self._chat, anna)
        false = self._register(self._chat, "not_anna", {**ANNA, "legal_name": "SOMEBODY ELSE"})
        self._decide(false, "rejected", "not_the_holder")
        after = self._introspect(self._chat, false)
        _claim("a rejected registration may not publish", holds="publish" not in after["scope"])
        _claim("the true person is untouched", holds=self._introspect(self._chat, anna) == before)
        return Scene("An impostor registers with Anna's number", {
            "Impostor": "the same answer as for an unknown number: nothing to learn",
            "Rita": "the face is not the holder's: rejected",
            "Chat": f"not_anna may {after['scope']}; Anna is untouched",
        })  # fmt: skip

    def _two_tokens(self, anna: Mapping[str, Any], erika: Mapping[str, Any]) -> Scene:
        heard = "".join(self._blog.received)
        _claim("the tokens differ", holds=anna["token"] != erika["token"])
        _claim("Blog heard nothing of Chat's token", holds=anna["token"] not in heard and anna["account"] not in heard)
        return Scene("Anna registers at Blog as erika", {
            "Chat": f"token {_short(anna['token'])}",
            "Blog": f"token {_short(erika['token'])}: nothing in common, and no word of Chat",
            "Rita": "approves: two records, one person, and only the key agent knows",
        })  # fmt: skip

    def _exchanged(self, anna: Mapping[str, Any], erika: Mapping[str, Any]) -> Scene:
        exchange, kinds = "urn:ietf:params:oauth:grant-type:token-exchange", "urn:idvault:token-type:"
        given = {"grant_type": exchange, "subject_token": anna["token"], "subject_token_type": kinds + "pseudonym",
                 "audience": self._blog.client_id, "scope": PURPOSE}  # fmt: skip
        refused = self._chat.form("/oauth/token", **given)
        _claim("without an agreement there is no exchange", holds=refused.status == 400)  # noqa: PLR2004 - HTTP
        names = self._chat.name, self._blog.name
        self._stage.run("provider", "allow-exchange", *names, "--purpose", PURPOSE, "--basis", "legal")
        handoff = _ok(self._chat.form("/oauth/token", **given))["access_token"]
        taken = {"grant_type": exchange, "subject_token": handoff, "subject_token_type": kinds + "handoff"}
        own = _ok(self._blog.form("/oauth/token", **taken))["access_token"]
        _claim("Blog gets its own token of the person", holds=own == erika["token"])
        again = self._blog.form("/oauth/token", **taken)
        _claim("a hand-off is good once", holds=again.status == 400)  # noqa: PLR2004 - HTTP
        return Scene("Chat hands a token over to Blog, under an agreement", {
            "Chat": f"before the agreement: {refused.body['error']}; then {_short(handoff)}",
            "Blog": f"redeems it, once, for its own {_short(own)}",
            "Person": "will see an entry: who, whom, why",
        })  # fmt: skip

    def _sanctioned(self, anna: Mapping[str, Any], erika: Mapping[str, Any]) -> Scene:
        now = SystemClock().now()
        body = {"token": anna["token"], "rung": "limit_publish", "until": to_text(now + timedelta(days=30)),
                "ground": "spam", "facts": "the same advertisement in forty rooms", "by": "mod-17"}  # fmt: skip
        _ok(self._chat.call("POST", "/v1/sanctions", body), 201)
        limited = self._introspect(self._chat, anna)
        ban = {"token": anna["token"], "rung": "close", "ground": "spam", "by": "mod-17", "facts": "went on",
               "ban_until": to_text(now + timedelta(days=365))}  # fmt: skip
        _ok(self._chat.call("POST", "/v1/sanctions", ban), 201)
        closed, there = self._introspect(self._chat, anna), self._introspect(self._blog, erika)
        _claim("a limited account may only read", holds=limited["scope"] == "read")
        _claim("a closed account is inactive", holds=closed == {"active": False})
        _claim("another provider's account is untouched", holds=there["scope"] == "read publish")
        return Scene("Chat limits, then bans her for a year", {
            "Chat": f"limit_publish: may {limited['scope']}; close: inactive at the next call",
            "Blog": f"erika may {there['scope']}: it hears nothing",
            "Person": "a statement of reasons, sealed for her",
        })  # fmt: skip

    def _returned(self, anna: Mapping[str, Any], erika: Mapping[str, Any]) -> Scene:
        document = {"document": {"type": "passport", "mrz": list(_MRZ)}, "phone": "+46700000000"}
        again = self._register(self._chat, "new_here", {**document, "email": "anna@example.org"})
        shown = self._reveal(again)
        self._approve(again)
        after = _ok(self._chat.call("GET", f"/v1/registrations/{again['id']}"))
        _claim("the returner is recognised", holds=shown["returner"] and after["token"] == anna["token"])
        _claim("the ban still runs", holds=self._introspect(self._chat, after) == {"active": False})
        _claim("nobody else notices", holds=self._introspect(self._blog, erika)["active"] is True)
        return Scene("She comes back with a new handle, phone and e-mail", {
            "Returner": "never gets to publish at Chat before the ban ends",
            "Rita": f"is told: known here, {shown['sanctions'][0]['rung']} runs",
            "Chat": f"new_here is {_short(after['token'])} again: inactive",
            "Blog": "nothing",
        })  # fmt: skip

    def _left(self) -> Scene:
        bruno = self._register(self._blog, "bruno", BRUNO)
        self._approve(bruno)
        _ok(self._blog.call("DELETE", f"/v1/registrations/{bruno['id']}"), 204)
        gone = _ok(self._blog.form("/oauth/introspect", token=bruno["token"]))
        account = _ok(self._blog.call("GET", f"/v1/accounts/{bruno['account']}"))
        _claim("an erased registration's token is inactive", holds=gone == {"active": False})
        _claim("who withdraws the name keeps reading", holds=account["scope"] == "read")
        return Scene("Bruno registers, is approved, and takes his name back", {
            "Person": "his keys are destroyed: nobody opens that record any more",
            "Blog": f"the token is inactive; the account still may {account['scope']}",
        })  # fmt: skip

    def _stolen(self) -> Scene:
        stolen = steal(self._stage.home, self._stage.home.parent / "loot")
        self.loot = loot = look(stolen, list(_PERSONAL), [self._chat.client_id, self._blog.client_id])
        _claim("no name", holds=loot.names_found == 0)
        _claim("no link", holds=loot.links_between_providers == loot.links_to_records == 0)
        return Scene("A thief copies all four stores", {
            "Thief": f"{loot.stolen_bytes:,} bytes, {loot.rows} rows, {loot.values_tried} spellings tried: "
                     f"{loot.names_found} names, {loot.links_between_providers} links between providers, "
                     f"{loot.links_to_records} links from handle to record",
        })  # fmt: skip


def _short(token: str) -> str:
    return token[:10] + "…"


def facts(loot: Loot | None) -> dict[str, object]:
    """Return what the thief found, for machines."""
    return {} if loot is None else asdict(loot)
