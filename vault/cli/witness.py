"""idvault witness …"""

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import click

from keys.errors import NoteError
from keys.files import create_durably
from keys.notes import MAX_NOTE_BYTES, VerifierKey, decoded, encoded
from keys.primitives import KEY_BYTES, Ed25519Signer, MlDsa44Signer, Secret
from vault.cli.common import json_option, show, tell_begun
from vault.domain.clock import SystemClock, epoch
from vault.errors import StartError
from vault.log.cosignatures import cosigner_key
from vault.log.witness import Answer, Witness

_SIGNERS: Final[dict[str, type[Ed25519Signer] | type[MlDsa44Signer]]] = {
    "ed25519": Ed25519Signer,
    "ml-dsa-44": MlDsa44Signer,
}
_TIMEOUT_SECONDS: Final = 10
_PATH: Final = "/add-checkpoint"


@click.group()
def witness() -> None:
    """Watch logs: sign their checkpoints as long as each continues the one before (c2sp.org/tlog-witness)."""


@witness.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--name", required=True, help="The name to sign by: an address without a scheme.")
@click.option(
    "--algorithm", type=click.Choice(sorted(_SIGNERS)), default="ed25519", show_default=True,
    help="ml-dsa-44 holds against quantum computers too, and its signatures are long.",
)  # fmt: skip
@json_option
def new(file: Path, name: str, algorithm: str, *, as_json: bool) -> None:
    """Write a witness' private key into a new FILE, for its owner alone, and print the public one."""
    secret = Secret.random(KEY_BYTES)
    key = _key(name, algorithm, secret)
    said = {"name": name, "algorithm": algorithm, "seed": encoded(secret.expose_cleartext())}
    try:
        create_durably(file, json.dumps(said).encode())
    except OSError:
        raise StartError("the key file is there already, or cannot be made") from None
    show({"name": name, "key": str(key)}, as_json=as_json)


def _key(name: str, algorithm: str, secret: Secret) -> VerifierKey:
    try:
        return cosigner_key(name, _SIGNERS[algorithm](secret))
    except NoteError as error:
        raise StartError(f"--name: {error}") from None


@witness.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--state",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that remembers what was signed; lost, it must not begin anew under the same key.",
)
@click.option("--log", "logs", required=True, multiple=True, help="The public key of a log to watch.")
@click.option("--bind", default="127.0.0.1:8401", show_default=True, help="host:port to serve on")
@json_option
def serve(file: Path, state: Path, logs: tuple[str, ...], bind: str, *, as_json: bool) -> None:
    """Serve a witness with the key of FILE, until told to end. Put a proxy with TLS in front."""
    made = _witness(file, state, logs)
    host, _, port = bind.rpartition(":")
    server = ThreadingHTTPServer((host, int(port)), _handler(made))
    click.echo(f"idvault: witness {made.key.name} on http://{bind}", err=True)
    tell_begun("witness", as_json=as_json, name=made.key.name, url=f"http://{bind}")
    with server:
        server.serve_forever()


def _witness(file: Path, state: Path, logs: tuple[str, ...]) -> Witness:
    if file.stat().st_mode & 0o077:
        raise StartError("the key file may be read by others: chmod 600")
    try:
        said = json.loads(file.read_text())
        secret = Secret(decoded(said["seed"]))
        known = {key.name: key for key in map(VerifierKey.parse, logs)}
        signer = _SIGNERS[said["algorithm"]](secret)
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        return Witness(cosigner_key(said["name"], signer), signer, known, state)
    except (NoteError, ValueError, KeyError, TypeError):
        raise StartError("no key file of a witness, or no public key of a log") from None


def _handler(witness: Witness) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = _TIMEOUT_SECONDS
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if self.path != _PATH or not length.isdecimal() or int(length) > MAX_NOTE_BYTES:
                self.close_connection = True
                self._answer(Answer(HTTPStatus.NOT_FOUND if self.path != _PATH else HTTPStatus.BAD_REQUEST))
                return
            self._answer(witness.add_checkpoint(self.rfile.read(int(length)), epoch(SystemClock().now())))

        def do_GET(self) -> None:
            name, _, last = self.path.removeprefix("/").partition("/")
            note = witness.checkpoint(name) if last == "checkpoint" else None
            self._answer(Answer(HTTPStatus.NOT_FOUND) if note is None else Answer(HTTPStatus.OK, note))

        def _answer(self, answer: Answer) -> None:
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.content_type)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *_: object) -> None:
            """Say nothing: whom it signs for is in its folder."""

    return Handler
