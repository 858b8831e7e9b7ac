"""The account MAC: binds a handle, its provider and its account to the one row that it stands in.

mac = HMAC(account-mac key, LP(deployment) ‖ LP(provider) ‖ LP(handle) ‖ LP(pid) ‖ LP(account id))
"""

from keys.frame import length_prefixed
from keys.primitives import Secret, equal, hmac_sha256


def account_mac(key: Secret, deployment: bytes, provider: str, handle: str, pid: bytes, account: bytes) -> bytes:
    """Return the MAC, 32 bytes; made when an account is made or renamed."""
    return hmac_sha256(key, length_prefixed(deployment, provider.encode(), handle.encode(), pid, account))


def account_holds(
    key: Secret, deployment: bytes, provider: str, handle: str, pid: bytes, account: bytes, mac: bytes
) -> bool:
    """Tell whether an account row is as it was bound."""
    return equal(account_mac(key, deployment, provider, handle, pid, account), mac)
