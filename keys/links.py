"""The two sealed values that are the only link between a standing and what lies behind it. Agent only.

    record link = SIV(link key, rid; AD = sector, version, pid) ‖ version      bound to its row
    person tag  = SIV(link key, uid; AD = sector, version) ‖ version           equal for one person at one provider

Link keys are random for each sector and version: destroying them de-links a provider for good.
"""

from collections.abc import Mapping

from keys.errors import OpenError
from keys.primitives import Secret
from keys.tokens import Ciphers


class Links:
    """The links of one sector."""

    __slots__ = ("_ciphers", "_sector")

    def __init__(self, sector: str, keys: Mapping[int, Secret]) -> None:
        self._sector, self._ciphers = sector.encode(), Ciphers(keys)

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
        """Return the person tag of `uid` in this sector."""
        sealed, version = self._ciphers.seal(uid, self._sector)
        return sealed + bytes((version,))
