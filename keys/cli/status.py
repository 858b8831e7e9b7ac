"""idvault-keys status --as FILE: officers and their proofs, keys and their ages, what waits, and what to do by when."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from keys.agent.settings import EMBEDDED
from keys.quorum import kept_by
from keys.uses import to_rotate

PROOF_DAYS: Final = 90
"""After which an officer should prove anew that his share opens."""
CRYPTOPERIOD_DAYS: Final = 730
"""NIST SP 800-57 part 1 rev. 5, section 5.3.6: at most two years for keys that seal, and of what signs."""
MODE: Final = f"mode      {EMBEDDED}"
_ROTATES: Final = {"kek": "kek", "fingerprint": "fingerprint", "sign/es256": "signing", "sign/log": "log"}
_SOON_DAYS: Final = 30
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Due:
    """Something to be done by a day."""

    day: str
    """YYYY-MM-DD"""
    what: str


def to_dos(found: Mapping[str, Any], now: int) -> list[Due]:
    """Return what is to be done, the most urgent first."""
    dues = []
    for seat in found["officers"]:
        proven = seat["proven"]
        due = now if proven is None else proven + PROOF_DAYS * _DAY_SECONDS
        if due <= now + _SOON_DAYS * _DAY_SECONDS:
            dues.append(Due(_day(due), f"{seat['name']}: prove the share: idvault-keys verify-share --tell"))
    for key in found["keys"]:
        due = key["created"] + CRYPTOPERIOD_DAYS * _DAY_SECONDS
        if due <= now + _SOON_DAYS * _DAY_SECONDS:
            name = _ROTATES.get(key["purpose"])
            how = f"idvault-keys rotate {name}, beside the agent" if name else "rotate, which this version cannot yet"
            dues.append(Due(_day(due), f"key {key['purpose']}: {how}"))
    for one in found["uses"][-1:]:  # the newest version; the others seal nothing any more
        if why := to_rotate(one["uses"], one["limit"]):
            what = f"key kek version {one['version']} {why}: idvault-keys rotate kek, beside the agent"
            dues.append(Due(_day(now), what))
    dues += [
        Due(_day(one["expires"]), f"request {one['id']} ({one['kind']}): {one['missing']} more must approve it")
        for one in found["requests"] if one["state"] == "pending"
    ]  # fmt: skip
    return sorted(dues, key=lambda due: due.day)


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def lines(found: Mapping[str, Any], now: int) -> list[str]:
    """Return the status as text."""
    control = found["control"]
    told = [
        f"kept by   {kept_by(found['threshold'], len(found['officers']), control['seal'])}",
        f"names     {found['names']}",
        f"standing  {control['standing']}",
        *((MODE,) if control.get("embedded") else ()),  # an earlier version's agent does not tell
        f"officers  {found['threshold']} of {len(found['officers'])} needed, generation {found['generation']}",
    ]
    for seat in found["officers"]:
        proven = "never proved" if seat["proven"] is None else f"proved {_day(seat['proven'])}"
        told.append(f"          {seat['name']}   {proven}{'   (you)' if seat['key'] == found['you'] else ''}")
    for purpose, missing in found["needed"].items():
        told.append(f"shares    {missing} more needed for {purpose}")
    for key in found["keys"]:
        days = (now - key["created"]) // _DAY_SECONDS
        told.append(f"key       {key['purpose']} version {key['version']}: {days} of {CRYPTOPERIOD_DAYS} days")
    told += [f"uses      kek version {one['version']}: {one['uses']} of {one['limit']}" for one in found["uses"]]
    if found["policy"].get("by_officers"):
        now_so = "they did" if found["by_officers"] else "they did not: seal and unseal it first"
        kinds = ", ".join(found["policy"]["by_officers"])
        told.append(f"policy    only while officers' shares opened the vault ({now_so}): {kinds}")
    told += [f"budget    {name}: {limit} an hour" for name, limit in found["budgets"].items()]
    told += [f"request   {one['id']}  {one['kind']} {one['subject']}: {one['state']}" for one in found["requests"]]
    dues = to_dos(found, now)
    told.append("to do     nothing" if not dues else "to do")
    return told + [f"  by {due.day}  {due.what}" for due in dues]
