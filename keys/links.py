"""The two sealed values that are the only link between a standing and what lies behind it. Agent only.

    record link = SIV(link key, rid; AD = sector, version, pid) ‖ version      bound to its row
    person tag  = SIV(link key, uid; AD = sector, version) ‖ version           equal for one person at one provider

Link keys are random for each sector and version: destroying them de-links a provider for good.
"""

from collections.abc import Collection, Iterable, Mapping

from keys.errors import OpenError
from keys.primitives import Secret
from keys.tokens import Ciphers


class Links:
    """The links of one sector."""

    __slots__ = ("_active", "_ciphers", "_sector", "_versions")

    def __init__(self, sector: str, keys: Mapping[int, Secret], active: Iterable[int] = ()) -> None:
        """Take the keys by version; `active` are those that tags are written under, by default the newest alone."""
        self._sector, self._ciphers = sector.encode(), Ciphers(keys)
        self._versions = sorted(keys, reverse=True)
        self._active = sorted(active, reverse=True) or self._versions[:1]

    def link(self, rid: bytes, pid: bytes) -> bytes:
        """Return the record link of the standing `pid`."""
        sealed, version = self._ciphers.seal(rid, self._sector, row=pid)
        return sealed + bytes((version,))

    def rid(self, link: bytes, pid: bytes) -> bytes:
        """Return the record behind a link.

        Raises:
            OpenError: the link is not of this sector, or was moved to another row.
        """
        if not link:
            raise OpenError
        return self._ciphers.open(link[:-1], link[-1], self._sector, row=pid)

    def tag(self, uid: bytes) -> bytes:
        """Return the person tag of `uid` in this sector, under the newest version."""
        return self._tag(uid, self._active[0])

    def tags(self, uid: bytes) -> list[bytes]:
        """Return the person tags of `uid` that are written and asked: one, or where versions overlap one of each."""
        return [self._tag(uid, version) for version in self._active]

    def is_of(self, uid: bytes, tags: Collection[object]) -> bool:
        """Tell whether one of these is the person tag of `uid`, under whichever version."""
        return any(self._tag(uid, version) in tags for version in self._versions)

    def _tag(self, uid: bytes, version: int) -> bytes:
        return self._ciphers.seal_under(version, uid, self._sector) + bytes((version,))
