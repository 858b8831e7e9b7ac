"""Which acts of an open holder `names` stand behind which socket; those that need more than it are added there."""

from collections.abc import Callable
from typing import Any, Final

from keys.agent.acts import (
    agreeing,
    approving,
    backing_up,
    deepening,
    delinking,
    disclosing,
    enrolling,
    erasing,
    evidence,
    expiring,
    holding,
    importing,
    receipting,
    redeeming,
    registering,
    resealing,
    retagging,
    reviewing,
    rotating,
    splitting,
    verifying,
)
from keys.agent.arguments import Args
from keys.agent.names import Names
from keys.agent.wire import Dialogue

Offered = dict[str, Callable[[Names, Args, Dialogue], dict[str, Any]]]
IDENTITY_ACTS: Final[Offered] = {
    "create.check": registering.create_check,
    "create.undo": registering.create_undo,
    "import.create": importing.create,
    "import.done": importing.done,
    "import.close": importing.close,
    "create.open": registering.create_open,
    "revise": registering.revise,
    "revise.done": registering.revise_done,
    "review.open": reviewing.review_open,
    "review.decide": reviewing.review_decide,
    "review.approve": approving.approve,
    "evidence": evidence.evidence,
    "evidence.drop": evidence.drop,
    "handoff.expire": expiring.expire,
    "disclose.ask": disclosing.ask,
    "disclose.show": disclosing.show,
    "disclose": disclosing.disclose,
    "orders.due": disclosing.due,
    "hold.check": holding.check,
    "hold.expire": holding.expire,
    "unite": reviewing.unite,
    "split": splitting.split,
    "erase": erasing.erase,
    "erase.done": erasing.erase_done,
    "intents": reviewing.intents_due,
    "deep": deepening.deep,
    "deep.done": deepening.done,
    "deep.end": deepening.end,
    "retag": retagging.retag,
    "retag.versions": retagging.versions,
    "retag.done": retagging.done,
    "receipts": receipting.receipts,
    "verify": verifying.verify,
}
EXCHANGE_ACTS: Final[Offered] = {
    "exchange.done": redeeming.done,
}
OFFICER_ACTS: Final[Offered] = {
    "enrol": enrolling.enrol,
    "provider.widen": enrolling.widen,
    "bulk.approve": enrolling.bulk,
    "reviewer.disable": enrolling.disable_reviewer,
    "agreement.allow": agreeing.allow,
    "agreement.revoke": agreeing.revoke,
    "agreement.list": agreeing.listed,
    "verify.own": verifying.verify_own,
    "keys.list": rotating.keys_listed,
    "keys.rotate": rotating.rotate,
    "keys.rewrap": rotating.rewrap,
    "deep.begin": deepening.begin,
    "keys.destroy": rotating.destroy,
    "keys.destroy_sector": delinking.destroy_sector,
    "keys.migrate_seal": resealing.migrate_seal,
    "hold.put": holding.put,
    "hold.lift": holding.lift,
    "hold.list": holding.listed,
    "backup.begin": backing_up.begin,
    "backup.sign": backing_up.sign,
    "officers.export": backing_up.officers_exported,
}
