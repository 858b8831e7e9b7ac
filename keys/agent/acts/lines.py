"""The act `verify.lines`, for `fsck`: whether each leaf of each record stands in the log.

A record's leaves are its lines: what its person may see of who looked. Only the agent can tell which leaf is whose. It
takes the entries from its caller, goes by them only if they have the root that it signed itself, and tells numbers: a
caller who could leave an entry out would learn which places in it stand for somebody.
"""

from collections.abc import Iterator
from typing import Any, Final

from sqlalchemy import bindparam, func, select

from keys import leaves, store
from keys.agent.acts.draining import commitment_keys
from keys.agent.arguments import Args
from keys.agent.names import Names
from keys.agent.wire import Dialogue
from keys.checkpoints import Checkpoint
from keys.engine import snapshot
from keys.errors import ProofError, ProtocolError, RefusedError
from keys.filters import Filter
from keys.heads import Heads
from keys.merkle import EMPTY_ROOT, CompactRange, leaf_hash

MOST_NAMED: Final = 100
"""Records that are named where lines are missing; all are counted."""
TRIES: Final = 100
"""How often the caller may say that the log is not signed to its end yet."""
_AT_ONCE: Final = 500
_SUBJECTS_A_LEAF: Final = 2
"""That the filter has full size for; many more let more that are missing pass unseen."""
_PAGE: Final = (
    select(store.leaf_count.c.rid, store.leaf_count.c.leaves)
    .where(store.leaf_count.c.rid > bindparam("after"))
    .order_by(store.leaf_count.c.rid)
    .limit(_AT_ONCE)
)
_WAITING: Final = select(func.count()).select_from(store.audit_outbox)
_VIEWS: Final = select(func.coalesce(func.sum(store.evidence_key.c.views), 0))


def verify_lines(names: Names, heads: Heads, _args: Args, dialogue: Dialogue) -> dict[str, Any]:
    """Check that all leaves that records were counted to have are in the log.

    Args:
        names: the holder.
        heads: what was signed last.
        _args: none.
        dialogue: asks `log` {size}, whether what stood in the log at the first asking lies under that size; `entries`
            {first}, the next of them; tells `progress` {done} records.

    Returns:
        {records, lines, missing: how many lines, where: [rid, …] of up to 100 records, waiting: rows that are not in
        the log yet, views: how often evidence was seen}.

    Raises:
        RefusedError: the log is not signed to its end; its sequencer does not run.
        ProofError: the entries are not those that were signed.
        ProtocolError: an answer is not what was asked for.
    """
    done = lines = missing = 0
    where, after = list[bytes](), b""
    with snapshot(names.engine) as connection:
        waiting, views = connection.execute(_WAITING).scalar_one(), connection.execute(_VIEWS).scalar_one()
        known = _known(_signed(heads, dialogue), dialogue)
        while counted := {row.rid: row.leaves for row in connection.execute(_PAGE, {"after": after})}:
            keys = commitment_keys(names, connection, list(counted))
            for rid, count in counted.items():
                lost = count  # where its keys cannot be opened, nobody can tell which leaves are its own
                if rid in keys:
                    lost = sum(
                        not any(one in known for one in leaves.record_subjects(keys[rid], n)) for n in range(count)
                    )
                lines, missing, after = lines + count, missing + lost, rid
                where += [rid] if lost and len(where) < MOST_NAMED else []
            done += len(counted)
            dialogue.ask("progress", done=done)
    return {
        "records": done, "lines": lines, "missing": missing, "where": where, "waiting": waiting, "views": int(views),
    }  # fmt: skip


def _signed(heads: Heads, dialogue: Dialogue) -> Checkpoint:
    """Return a head under which all lies that stood in the log when the snapshot was taken."""
    for _ in range(TRIES):
        head = heads.last() or Checkpoint("", 0, EMPTY_ROOT)
        if dialogue.ask("log", size=head.size) is True:
            return head
    raise RefusedError("the log is not signed to its end; its sequencer does not run")


def _known(head: Checkpoint, dialogue: Dialogue) -> Filter:
    """Return a filter over all subjects of the entries under a head that was signed."""
    known, tree = Filter(head.size * _SUBJECTS_A_LEAF), CompactRange()
    for entry in _entries(head.size, dialogue):
        tree.append(leaf_hash(entry))
        for subject in leaves.read(entry)["subjects"]:
            known.add(subject)
    if tree.root() != head.root:
        raise ProofError
    return known


def _entries(size: int, dialogue: Dialogue) -> Iterator[bytes]:
    first = 0
    while first < size:
        answer = dialogue.ask("entries", first=first)
        some = answer[: size - first] if isinstance(answer, list) else []
        if not some or not all(isinstance(entry, bytes) for entry in some):
            raise ProtocolError("entries: a list of those from that number on")
        yield from some
        first += len(some)
