"""An in-memory model of what providers may see: standings, accounts, rungs, persons. It knows no key and no store.

A *group* is one person as the vault has it: the standings that a vault reviewer's approvals united, and those that
others have of him by an exchange alone (`bare`). The model says what each token must mean; where two standings are
equally old it takes the system's word for which of them lives on.
"""

from dataclasses import dataclass, field, replace

RUNGS = ("free", "warn", "limit_publish", "suspend_updates", "close")
SCOPES = {0: "read publish", 1: "read publish", 2: "read", 3: ""}
_ABOUT_SECONDS = 1.2


@dataclass
class Sanction:
    """A sanction on a registrant."""

    id: str
    rung: int
    until: float | None
    origin: "Standing"
    brief: bool
    lifted: bool = False

    def runs(self, now: float) -> bool:
        return not self.lifted and (self.until is None or self.until > now)


@dataclass(eq=False)
class Standing:
    """One registrant at one provider."""

    provider: int
    person: int
    token: str
    former_tokens: list[str] = field(default_factory=list)
    accounts: dict[str, str] = field(default_factory=dict)
    sanctions: list[Sanction] = field(default_factory=list)
    approved: bool = False
    bare: bool = False
    gone: bool = False
    became: "Standing | None" = None

    @property
    def living(self) -> "Standing":
        return self if self.became is None else self.became.living

    def is_part_of(self, other: "Standing") -> bool:
        return self is other or (self.became is not None and self.became.is_part_of(other))

    def rung(self, now: float) -> int:
        return max((s.rung for s in self.sanctions if s.runs(now)), default=0)

    def is_near(self, now: float) -> bool:
        """Tell whether a sanction ends about now: what is said meanwhile may be of before or after it."""
        return any(one.until and abs(one.until - now) < _ABOUT_SECONDS for one in self.sanctions)

    def meaning(self, now: float) -> str | None:
        """Return the scope of this standing's token, None where it is inactive."""
        rung = self.rung(now)
        if self.gone or self.became is not None or rung == 4:
            return None
        if not self.accounts:
            return ""
        approved = all(state == "approved" for state in self.accounts.values())
        return SCOPES[rung] if approved else ("read" if rung < 3 else "")


@dataclass(eq=False)
class Registration:
    """A registration as its provider knows it."""

    id: str
    account: str
    standing: Standing
    state: str = "in_review"


class Model:
    """All standings, and who is one person."""

    def __init__(self) -> None:
        self.standings: list[Standing] = []
        self.registrations: list[Registration] = []
        self.groups: list[set[Standing]] = []
        self.bans: list[Standing] = []
        self.opened: dict[str, Standing] = {}

    def register(self, provider: int, person: int, token: str, reg: str, account: str) -> Registration:
        standing = Standing(provider, person, token, accounts={account: "in_review"})
        self.standings.append(standing)
        self.opened[account] = standing
        registration = Registration(reg, account, standing)
        self.registrations.append(registration)
        return registration

    def group_of(self, standing: Standing) -> set[Standing]:
        return next(group for group in self.groups if standing in group)

    def mates(self, standing: Standing) -> list[Standing]:
        """Return the living standings of the same person elsewhere."""
        return [s for s in self.group_of(standing) if s is not standing and s.became is None and not s.gone]

    def approve(self, registration: Registration, now: float) -> list[list[Standing]]:
        """Unite, and return the standings that become one, oldest first, for each provider that has several."""
        standing = registration.standing
        registration.state, standing.approved = "approved", True
        standing.living.accounts[registration.account] = "approved"
        matched = [group for group in self.groups if any(self._shows(mate, standing.person) for mate in group)]
        united = {standing}.union(*matched)
        self.groups = [group for group in self.groups if group not in matched] + [united]
        self._ban(standing, now)
        living = [s for s in self.standings if s in united and s.became is None and not s.gone]
        here = [[s for s in living if s.provider == provider] for provider in {s.provider for s in living}]
        return [several for several in here if len(several) > 1]

    @staticmethod
    def _shows(standing: Standing, person: int) -> bool:
        """Tell whether a record that a vault reviewer approved stands behind it, with this person's document."""
        return standing.approved and not standing.gone and not standing.bare and standing.person == person

    def _ban(self, standing: Standing, now: float) -> None:
        for ban in [b for b in self.bans if (b.provider, b.person) == (standing.provider, standing.person)]:
            self.bans.remove(ban)
            if ban.rung(now) > 1:
                standing.sanctions += [replace(s, id="", origin=standing) for s in ban.sanctions if s.runs(now)]

    def merge(self, alias: Standing, survivor: Standing) -> None:
        alias.became = survivor
        survivor.accounts |= alias.accounts
        survivor.sanctions += alias.sanctions
        alias.accounts, alias.sanctions = {}, []

    def exchange(self, standing: Standing, provider: int, token: str) -> Standing:
        """Return the standing that the other provider has of this person, a fresh one where it had none."""
        for mate in self.mates(standing):
            if mate.provider == provider:
                return mate
        bare = Standing(provider, standing.person, token, approved=True, bare=True)
        self.standings.append(bare)
        self.group_of(standing).add(bare)
        return bare

    def split(self, standing: Standing) -> bool:
        """Part a standing, with what became part of it, from its person; False where that is refused."""
        living = standing.living
        group = [s for s in self.standings if s.is_part_of(standing)]
        staying = [s for s in self.standings if s.is_part_of(living) and s not in group]
        if standing is living:
            possible = len(group) == 1 and bool(self.mates(standing))
        else:
            # One person has one document here: two with a document are one whatever anybody says.
            possible = all(s.bare for s in staying)
        if not possible:
            return False
        if standing is not living:
            self._give_back(standing, living, group)
        whole = self.group_of(standing)
        whole.difference_update(group)
        self.groups.append(set(group))
        return True

    def _give_back(self, standing: Standing, living: Standing, group: list[Standing]) -> None:
        standing.became = None
        for account in [a for a in living.accounts if self.opened[a] in group]:
            standing.accounts[account] = living.accounts.pop(account)
        standing.sanctions = [s for s in living.sanctions if s.origin in group]
        living.sanctions = [s for s in living.sanctions if s.origin not in group]

    def erase(self, standing: Standing, fresh_token: str, now: float) -> None:
        """End a registrant at one provider: open accounts go on under a fresh token, and what runs goes with them."""
        keeper = Standing(standing.provider, standing.person, fresh_token)
        keeper.sanctions = [replace(sanction, origin=keeper) for sanction in standing.sanctions]
        keeper.accounts = dict.fromkeys(standing.accounts, "legacy")
        self.opened |= dict.fromkeys(standing.accounts, keeper)
        self.standings.append(keeper)
        if standing.approved and keeper.rung(now) > 1:
            self.bans.append(keeper)
        ended = [s for s in self.standings if s.living is standing]
        for one in ended:
            one.gone = True
        for registration in self.registrations:
            if registration.standing in ended:
                registration.state = "withdrawn"
        standing.sanctions, standing.accounts = [], {}
        if standing.approved:
            self._last(standing)

    def _last(self, standing: Standing) -> None:
        group = self.group_of(standing)
        left = [s for s in group if not s.gone and s.became is None]
        for bare in left if all(s.bare and not self._has_aliases(s) for s in left) else []:
            bare.gone = True

    def _has_aliases(self, standing: Standing) -> bool:
        return any(s is not standing and s.is_part_of(standing) for s in self.standings)
