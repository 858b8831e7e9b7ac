"""idvault-keys migrate-seal: what keeps the root key, and its change."""

from collections.abc import Callable
from pathlib import Path

import click
import orjson

from keys.cli.beside import agent
from keys.cli.seat import (
    asked_new_passphrase,
    await_state,
    failing,
    home_option,
    json_option,
    passphrase_option,
    read_secret,
    sockets_option,
)
from keys.seals.configs import AWS_KMS, PASSPHRASE, PKCS11, SHARES, TRANSIT

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group("migrate-seal")
def migrate_seal() -> None:
    """Have another seal keep the root key; the one before opens nothing any more.

    \b
    passphrase   for one person alone: a passphrase (Argon2id) opens the vault
    shares       the officers' shares alone; a first ceremony makes them: idvault-keys init
    pkcs11       a key in a hardware token      )  each beside the officers' shares, which stay: the vault opens by
    transit      OpenBao's or Vault's transit   )  itself at a start, and any M of the officers open it where the
    aws-kms      AWS KMS                        )  key there is lost. After `seal` only officers open it.

    In a vault of officers this prints a request, and is said again in the same words once M approved it. The new seal
    is made, and opened again, before anything is asked for or changed. Said once more, it wraps the root key anew under
    the newest version of the key there.

    Whoever reaches the key of an automatic seal, and the vault's files, opens the vault without any officer.
    """  # noqa: D301 - \b keeps click from wrapping the lines


def _beside_agent(command: Callable[..., None]) -> Callable[..., None]:
    return home_option(sockets_option(json_option(command)))


def _migrate(kind: str, config: dict[str, str | None], home: Path, sockets: Path | None, *, as_json: bool,
             passphrase: str = "", create: bool = False) -> None:  # fmt: skip
    given = {name: value for name, value in config.items() if value is not None}
    with failing():
        args = {"seal": kind, "config": given, "passphrase": passphrase, "create": create}
        with agent(home, sockets) as client:
            found = client.call("keys.migrate_seal", args)
            if found.get("sealed"):
                await_state(client, frozenset(("sealed",)))
    if "pending" in found:
        told, text = {"request": found["pending"], "state": "pending"}, (
            f"{found['pending']}  pending: officers approve it (idvault-keys approve); then say the same again"
        )  # fmt: skip
    else:
        told, text = {"seal": kind, "state": "in_force"}, f"The seal is {kind} now."
        if found["sealed"]:
            text += " The vault is shut; open it by the new seal: idvault-keys unseal"
    click.echo(orjson.dumps(told).decode() if as_json else text)


@migrate_seal.command()
@passphrase_option
@_beside_agent
def passphrase(home: Path, sockets: Path | None, passphrase_file: Path | None, *, as_json: bool) -> None:
    """Keep the root key under a passphrase, which one person knows. Asked for twice, or read from a file.

    A vault without officers gets another root key with it, and is shut: `unseal` asks for the passphrase. What opened
    it before, the development seal or another passphrase, opens only older copies. In a vault of officers it stands
    beside their shares: whoever knows it opens the vault alone.
    """
    with failing():
        given = read_secret(passphrase_file) if passphrase_file is not None else asked_new_passphrase()
    _migrate(PASSPHRASE, {}, home, sockets, as_json=as_json, passphrase=given)


@migrate_seal.command()
@_beside_agent
def shares(home: Path, sockets: Path | None, *, as_json: bool) -> None:
    """Keep the root key by the officers' shares alone, and put the seal beside them aside.

    A copy of that seal, with its key, still opens this root key: `rekey` afterwards gives the vault another one.
    """
    _migrate(SHARES, {}, home, sockets, as_json=as_json)


@migrate_seal.command()
@click.option("--module", required=True, type=_FILE, help="The token's PKCS#11 library, an absolute path.")
@click.option("--token", required=True, help="The token's label.")
@click.option("--key", required=True, help="The label of its AES-256 key: sensitive, and not extractable.")
@click.option("--pin-file", required=True, type=_FILE, help="Its PIN, in a file that the agent's user alone can read.")
@click.option("--create", is_flag=True, help="Make the key in the token, if there is none of this label.")
@_beside_agent
def pkcs11(home: Path, sockets: Path | None, module: Path, token: str, key: str, pin_file: Path, *, create: bool,
           as_json: bool) -> None:  # fmt: skip
    """Wrap the root key by a key in a hardware token (AES-GCM), which never leaves it."""
    config: dict[str, str | None] = {"module": str(module), "token": token, "key": key, "pin_file": str(pin_file)}
    _migrate(PKCS11, config, home, sockets, as_json=as_json, create=create)


@migrate_seal.command()
@click.option("--url", required=True, help="The server's address, such as https://bao.example:8200.")
@click.option("--mount", default="transit", show_default=True, help="Where the transit engine is mounted.")
@click.option("--key", required=True, help="The name of the key there.")
@click.option("--token-file", required=True, type=_FILE, help="A token that may encrypt and decrypt by it, in a file.")
@click.option("--ca-file", type=_FILE, help="The authority of the server's certificate, where it is not a known one.")
@click.option("--namespace", help="The namespace, where there is one.")
@_beside_agent
def transit(home: Path, sockets: Path | None, url: str, mount: str, key: str, token_file: Path, ca_file: Path | None,
            namespace: str | None, *, as_json: bool) -> None:  # fmt: skip
    """Wrap the root key by a key of OpenBao's or Vault's transit engine, the vault's place as associated data."""
    config = {"url": url, "mount": mount, "key": key, "token_file": str(token_file),
              "ca_file": None if ca_file is None else str(ca_file), "namespace": namespace}  # fmt: skip
    _migrate(TRANSIT, config, home, sockets, as_json=as_json)


@migrate_seal.command("aws-kms")
@click.option("--key-id", required=True, help="The key's id or ARN; not an alias, which another hand may point away.")
@click.option("--region", required=True, help="Its region.")
@click.option("--endpoint", help="The address of KMS, where it is not the region's own.")
@_beside_agent
def aws_kms(home: Path, sockets: Path | None, key_id: str, region: str, endpoint: str | None, *,
            as_json: bool) -> None:  # fmt: skip
    """Wrap the root key by a key of AWS KMS (needs pip install 'idvault[aws]')."""
    _migrate(AWS_KMS, {"key_id": key_id, "region": region, "endpoint": endpoint}, home, sockets, as_json=as_json)
