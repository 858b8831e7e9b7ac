"""The seal of AWS KMS, by boto3, which is an optional extra: pip install 'idvault[aws]'.

    wrapped = base64 of KMS's ciphertext; encryption context {"idvault": base64 of SHA-256 of the context}

Credentials are found as boto3 finds them: the instance's role, the environment, a file. Source: AWS KMS API reference,
Encrypt and Decrypt.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

from keys.errors import SealError, SealUnreachableError

_SECONDS: Final = 5
_LATER: Final = frozenset({"ThrottlingException", "KMSInternalException", "DependencyTimeoutException",
                           "KeyUnavailableException"})  # fmt: skip


def wrap(config: Mapping[str, str], root: bytes, context: bytes, *, create: bool) -> str:
    """Return the wrapped key.

    Raises:
        SealError: refused; SealUnreachableError where it may be tried again.
    """
    if create:
        raise SealError("aws-kms: --create is for pkcs11; make the key there")
    return base64.b64encode(_asked(config, "encrypt", "CiphertextBlob", context, Plaintext=root)).decode()


def unwrap(config: Mapping[str, str], wrapped: str, context: bytes) -> bytes:
    """Return what was wrapped.

    Raises:
        SealError: refused; SealUnreachableError where it may be tried again.
    """
    try:
        raw = base64.b64decode(wrapped, validate=True)
    except ValueError:
        raise SealError("aws-kms: what is wrapped is not of its form") from None
    return _asked(config, "decrypt", "Plaintext", context, CiphertextBlob=raw)


def _asked(config: Mapping[str, str], verb: str, member: str, context: bytes, **given: bytes) -> bytes:
    try:
        import boto3  # noqa: PLC0415 - an optional extra, in a process of its own
        from botocore.config import Config  # noqa: PLC0415 - the same
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - the same
    except ImportError:
        raise SealError("aws-kms: needs boto3: pip install 'idvault[aws]'") from None
    patience = Config(connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": 2})
    bound = {"idvault": base64.b64encode(hashlib.sha256(context).digest()).decode()}
    try:
        client = boto3.client("kms", region_name=config["region"], endpoint_url=config.get("endpoint"), config=patience)
        found: Any = getattr(client, verb)(KeyId=config["key_id"], EncryptionContext=bound, **given)
        return bytes(found[member])
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        kind = SealUnreachableError if code in _LATER else SealError
        raise kind(f"aws-kms: answered {code or 'an error'}") from None
    except BotoCoreError as error:
        raise SealUnreachableError(f"aws-kms: {type(error).__name__}") from None
    except (KeyError, TypeError, ValueError):
        raise SealError("aws-kms: what answered is not KMS") from None
