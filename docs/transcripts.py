# ruff: noqa: INP001, S603 - a script beside the page that it writes; it runs its own text
"""Writes the transcripts of docs/officers.md anew, from real commands against a real vault: `make transcripts`.

Each command runs in a pseudo-terminal of its own, as an officer would see it. What it asks is answered: a passphrase,
which is not shown, and `y`. Addresses of the run are shown as 127.0.0.1:8400; nothing else is changed.
"""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parent / "officers.md"
BIN: Final = Path(sys.executable).parent
PORT: Final = 18_412
VAULT: Final = f"http://127.0.0.1:{PORT}"
PASSPHRASE: Final = "seven drawn words are better"  # noqa: S105 - of officers who are invented
WAIT_SECONDS: Final = 60
_ASKS: Final = re.compile(rb"(Passphrase|The same again): $|\[y/N\]: $")


class Stage:
    """A vault without keys, and a machine for each officer."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "vault"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("IDVAULT_")}
        self.environment |= {"PATH": f"{BIN}:{os.environ['PATH']}", "COLUMNS": "120"}
        for place in ("host", "anna", "maria", "nikos", "petra"):
            (folder / place).mkdir(mode=0o700)
        self.of_host = {"IDVAULT_HOME": str(self.home), "IDVAULT_BIND": f"127.0.0.1:{PORT}"}

    def serve(self) -> "subprocess.Popen[bytes]":
        """Serve the vault, and wait until it answers."""
        served = subprocess.Popen(
            [BIN / "idvault", "serve"], env=self.environment | self.of_host, stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            connection = HTTPConnection("127.0.0.1", PORT, timeout=5)
            try:
                connection.request("GET", "/v1/keys/status")
                if connection.getresponse().read():
                    return served
            except (OSError, HTTPException):
                time.sleep(0.2)
            finally:
                connection.close()
        raise SystemExit("the vault does not answer")

    def say(self, place: str, command: str) -> str:
        """Run a command at a place; return what the terminal shows, with the command."""
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(self.folder / place)
            more = self.of_host if place == "host" else {}
            os.execvpe("sh", ["sh", "-c", command], self.environment | more)  # noqa: S606, S607 - the script's own text
        shown, end = b"", time.monotonic() + WAIT_SECONDS
        while time.monotonic() < end:
            readable, _, _ = select.select([terminal], [], [], 1.0)
            try:
                part = os.read(terminal, 65_536) if readable else b""
            except OSError:  # the other end of a pseudo-terminal is closed so
                break
            shown += part
            asked = _ASKS.search(shown)
            if asked and part:
                os.write(terminal, b"y\n" if asked[0].startswith(b"[") else PASSPHRASE.encode() + b"\n")
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        text = shown.decode().replace("\r\n", "\n").replace(str(PORT), "8400")
        if PASSPHRASE in text:
            raise SystemExit("a passphrase was shown")
        if code not in (0, 3):
            raise SystemExit(f"{command}: exit code {code}: {text}")
        return f"{place}$ {command.replace(str(PORT), '8400')}\n{text}"


def transcripts(stage: Stage) -> dict[str, str]:
    """Return each transcript by its name."""
    say, found = stage.say, {}
    names = {"anna": "Anna Berg", "maria": "Maria Lindqvist", "nikos": "Nikos Petrou", "petra": "Petra Novak"}
    for place, name in names.items():
        shown = say(place, f'idvault-keys officer new {place}.officer --name "{name}" > {place}.card')
        if place == "maria":
            found["new"] = shown
        for other in ("host", *names):
            (stage.folder / other / f"{place}.card").write_bytes((stage.folder / place / f"{place}.card").read_bytes())
    found["init"] = say("host", "idvault-keys init --threshold 2 anna.card maria.card nikos.card")
    found["confirm"] = say("anna", f"idvault-keys confirm --as anna.officer --vault {VAULT}")
    found["confirm-last"] = say("maria", f"idvault-keys confirm --as maria.officer --vault {VAULT}")
    say("nikos", f"idvault-keys confirm --as nikos.officer --vault {VAULT}")
    found["verify"] = say("nikos", "idvault-keys verify-share --as nikos.officer --tell")
    found["lockdown"] = say("nikos", "idvault-keys lockdown --as nikos.officer")
    found["unseal"] = "\n".join(say(who, f"idvault-keys unseal --as {who}.officer") for who in ("anna", "nikos"))
    say("maria", "idvault-keys seal --as maria.officer")
    found["directory"] = "\n".join(
        say(who, f"idvault-keys unseal --directory --as {who}.officer") for who in ("maria", "nikos")
    )
    for who in ("maria", "nikos"):
        say(who, f"idvault-keys unseal --as {who}.officer")
    found["provider"] = say("host", "idvault provider add Shop --sector shop.example")
    request = re.findall(r"\b[0-9a-f]{16}\b", found["provider"])[0]
    found["approve"] = "\n".join(
        (say("anna", f"idvault-keys approve {request} --as anna.officer"),
         say("maria", f"idvault-keys approve {request} --as maria.officer"),
         re.sub(r"ivs_\S+", "ivs_…", say("host", "idvault provider add Shop --sector shop.example")))
    )  # fmt: skip
    found["rekey"] = say("anna", 'idvault-keys rekey --remove "Nikos Petrou" --add petra.card --as anna.officer')
    found["rekey-confirm"] = "\n".join(
        (say("anna", "idvault-keys confirm --as anna.officer"),
         say("petra", f"idvault-keys confirm --as petra.officer --vault {VAULT}"))
    )  # fmt: skip
    found["rekey-request"] = say("anna", "idvault-keys request rekey --as anna.officer")
    request = re.findall(r"^([0-9a-f]{16})  officer-", found["rekey-request"], re.MULTILINE)[0]
    found["rekey-approve"] = say("nikos", f"idvault-keys approve {request} --as nikos.officer")
    found["status"] = say("petra", "idvault-keys status --as petra.officer")
    return found


def written(document: str, found: dict[str, str]) -> str:
    """Return a document with its transcripts in their places."""
    for name, text in found.items():
        begin, end = f"<!-- transcript: {name} -->\n", "<!-- end -->"
        if document.count(begin) != 1:
            raise SystemExit(f"no place for the transcript {name}")
        before, _, rest = document.partition(begin)
        _, _, after = rest.partition(end)
        lines = "\n".join(line.rstrip() for line in text.strip().splitlines())
        document = f"{before}{begin}```\n{lines}\n```\n{end}{after}"
    return document


def main() -> None:
    """Hold every ceremony, and write what the terminals showed."""
    with tempfile.TemporaryDirectory(prefix="idvault-transcripts-") as folder:
        stage = Stage(Path(folder))
        subprocess.run(
            [BIN / "idvault", "db", "upgrade", "--officers"], env=stage.environment | stage.of_host, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        served = stage.serve()
        try:
            found = transcripts(stage)
        finally:
            served.send_signal(signal.SIGTERM)
            served.wait(WAIT_SECONDS)
    DOCUMENT.write_text(written(DOCUMENT.read_text(), found))


if __name__ == "__main__":
    main()
