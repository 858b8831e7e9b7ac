"""`idvault import`: files of both kinds, refused rows without values, kills, a vault elsewhere, undoing."""

import csv
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.forking import in_fork
from tests.people import person
from tests.serving import BIN, START_SECONDS, Server

MARK = "Zq7markedvalue"
HEADER = [
    "handle", "kind", "external_id", "identity.legal_name", "identity.names.0.value", "identity.names.0.script",
    "identity.birth_date", "identity.document.type", "identity.document.country", "identity.document.number",
]  # fmt: skip
NUMBERED = 3


@pytest.fixture
def served(fresh: Server) -> Iterator[Server]:
    fresh.provider("chat")
    yield fresh
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def values(number: int) -> list[str]:
    who = person(number)
    names = ["SPECIMEN NAME", "Latn"] if number % 2 else ["", ""]
    return [f"csv{number}", "public", f"u-{number}", who["legal_name"], *names, who["birth_date"],
            *(who["document"][part] for part in ("type", "country", "number"))]  # fmt: skip


def as_csv(file: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


def as_lines(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def line(number: int, **more: Any) -> dict[str, Any]:
    accepts = {"terms": "2026-01", "truthful": True}
    return {"handle": f"line{number}", "kind": "public", "accepts": accepts, "identity": person(number), **more}


def done(server: Server, file: Path, *options: str, provider: str = "chat") -> dict[str, Any]:
    result: dict[str, Any] = server.json("import", str(file), "--provider", provider, *options)
    return result


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(found) for found in file.read_text().splitlines()]


def test_a_csv_is_imported_and_what_breaks_a_rule_is_told_by_row_member_and_rule(
    served: Server, tmp_path: Path
) -> None:
    rows = [values(number) for number in range(1, 8)]
    rows[1][6] = MARK
    rows[3] = rows[3][:NUMBERED]
    rows[5][0] = "CSV1"
    file = as_csv(tmp_path / "people.csv", rows)
    refused, results = tmp_path / "refused.jsonl", tmp_path / "made.jsonl"
    options = ("--terms", "2026-01", "--refused", str(refused), "--results", str(results))
    told = done(served, file, *options, "--dry-run")
    assert (told["accepted"], told["refused"], told["dry_run"]) == (4, 3, True)
    assert results.read_text() == ""
    told = done(served, file, *options)
    assert (told["accepted"], told["refused"]) == (4, 3)
    assert [(one["row"], one["errors"][0]["pointer"]) for one in read(refused)] == [
        (2, "/identity/birth_date"), (4, ""), (6, "/handle"),
    ]  # fmt: skip
    assert MARK not in refused.read_text()
    assert MARK not in served.log.read_text()
    made = read(results)
    assert [(one["row"], one["external_id"]) for one in made] == [(1, "u-1"), (3, "u-3"), (5, "u-5"), (7, "u-7")]
    assert {set(one) == {"row", "external_id", "account", "token", "id", "state"} for one in made} == {True}
    rita = served.reviewer("rita")
    shown = rita.reveal(made[0]["id"])
    assert shown["fields"]["legal_name"] == person(1)["legal_name"]
    assert shown["fields"]["names"] == [{"value": "SPECIMEN NAME", "script": "Latn"}]


def test_json_lines_are_imported_also_where_a_line_cannot_be_read(served: Server, tmp_path: Path) -> None:
    file = as_lines(tmp_path / "people.jsonl", [line(1), [1], line(2)])
    with file.open("ab") as stream:
        stream.write(b'{"handle": \n\xff\xfe\n')
    refused = tmp_path / "refused.jsonl"
    told = done(served, file, "--refused", str(refused))
    assert (told["rows"], told["accepted"]) == (5, 2)
    assert [one["row"] for one in read(refused)] == [2, 4, 5]


def test_legacy_accounts_are_imported_without_an_identity(served: Server, tmp_path: Path) -> None:
    file = as_csv(tmp_path / "old.csv", [[f"old{n}", f"x{n}"] for n in range(1200)], ["handle", "external_id"])
    told = done(served, file, "--state", "legacy", "--kind", "public")
    assert (told["rows"], told["accepted"]) == (1200, 1200)
    assert len(served.sql("directory", "select 1 from account where state = 'legacy'")) == 1200


def test_an_import_that_was_killed_goes_on_where_it_was_and_doubles_nobody(served: Server, tmp_path: Path) -> None:
    count = 1500
    file = as_lines(tmp_path / "many.jsonl", [line(number) for number in range(count)])
    command = [str(BIN / "idvault"), "import", str(file), "--provider", "chat", "--chunk-rows", "50", "--json"]
    for _ in range(2):
        process = subprocess.Popen(command, env=served.environment, stdout=subprocess.DEVNULL)
        before = len(served.sql("directory", "select 1 from import_chunk"))
        end = time.monotonic() + 60
        while len(served.sql("directory", "select 1 from import_chunk")) < before + 5:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    time.sleep(1)  # what the kill left in the air lands, or not
    assert 0 < len(served.sql("directory", "select 1 from account")) < count
    results = tmp_path / "made.jsonl"
    told = done(served, file, "--chunk-rows", "50", "--results", str(results))
    assert (told["rows"], told["accepted"]) == (count, count)
    assert [one["row"] for one in read(results)] == list(range(1, count + 1))
    assert len({one["token"] for one in read(results)}) == count
    assert len(served.sql("directory", "select 1 from account")) == count
    again = done(served, file, "--chunk-rows", "50")
    assert (again["id"], again["rows_per_second"]) == (told["id"], 0)


def test_with_chunks_of_another_size_it_is_another_import_that_doubles_nobody_and_says_who_stands(
    served: Server, tmp_path: Path
) -> None:
    lines = [line(number) for number in range(40)]
    first = done(served, as_lines(tmp_path / "part.jsonl", lines[:20]), "--chunk-rows", "10")
    file, refused = as_lines(tmp_path / "whole.jsonl", lines), tmp_path / "refused.jsonl"
    told = done(served, file, "--chunk-rows", "15", "--refused", str(refused))
    assert (told["accepted"], told["refused"]) == (20, 20)
    assert told["id"] != first["id"]
    assert [one["row"] for one in read(refused)] == list(range(1, 21))
    again = done(served, file, "--chunk-rows", "8", "--refused", str(refused))
    assert (again["accepted"], again["refused"]) == (0, 40)
    assert again["id"] not in {first["id"], told["id"]}
    assert len(served.sql("directory", "select 1 from account")) == 40


def test_an_import_is_undone_by_the_same_command(served: Server, tmp_path: Path) -> None:
    file = as_lines(tmp_path / "people.jsonl", [line(number) for number in range(30)])
    first = done(served, file)
    assert done(served, file, "--undo") == {"id": first["id"], "undone": True, "kept": []}
    assert not served.sql("directory", "select 1 from account where state <> 'closed'")
    assert done(served, file)["id"] != first["id"]


def test_a_provider_imports_over_http_with_its_own_credentials(served: Server, tmp_path: Path) -> None:
    blog = served.provider("blog")
    assert blog.http.auth is None
    secret = tmp_path / "secret"
    made = served.json("provider", "rotate-secret", "blog")
    secret.write_text(made["client_secret"] + "\n")
    file = as_lines(tmp_path / "people.jsonl", [line(1), line(2)])
    command = [
        BIN / "idvault", "import", file, "--provider", "blog", "--url", served.url, "--client-id", made["client_id"],
        "--secret-file", secret, "--json",
    ]  # fmt: skip
    elsewhere = {**os.environ, "HOME": str(tmp_path), "IDVAULT_HOME": str(tmp_path / "nothing")}
    ran = subprocess.run(command, env=elsewhere, capture_output=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr.decode()[-300:]
    assert json.loads(ran.stdout)["accepted"] == 2
    assert not (tmp_path / "nothing").exists()
    secret.write_text("ivs_wrong")
    ran = subprocess.run(command, env=elsewhere, capture_output=True, check=False, timeout=60)
    assert (ran.returncode, ran.stdout) == (1, b"")
    assert b"credentials" in ran.stderr


def test_a_vault_that_is_not_served_is_served_for_the_import(tmp_path: Path) -> None:
    server = Server(tmp_path / "home")
    server.provider("chat")
    file = as_lines(tmp_path / "people.jsonl", [line(1)])
    assert done(server, file)["accepted"] == 1
    assert server.processes() == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("people.txt", "handle\nanna\n", "--format"),
        ("people.csv", "", "empty"),
        ("people.csv", f"handle,{MARK}\n", "column 2"),
        ("people.csv", "handle,handle\n", "twice"),
    ],
)
def test_a_file_that_is_none_is_refused_before_a_row_is_sent(
    served: Server, tmp_path: Path, name: str, text: str, message: str
) -> None:
    file = tmp_path / name
    file.write_text(text)
    ran = subprocess.run(
        [BIN / "idvault", "import", file, "--provider", "chat"], env=served.environment, capture_output=True,
        check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert message in ran.stderr.decode()
    assert MARK not in ran.stderr.decode()
    assert not served.sql("directory", "select 1 from account")


def test_an_unknown_provider_is_told_as_such(served: Server, tmp_path: Path) -> None:
    file = as_lines(tmp_path / "people.jsonl", [line(1)])
    ran = subprocess.run(
        [sys.executable, "-m", "vault.cli.main", "import", file, "--provider", "nobody"], env=served.environment,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 1
    assert "no provider of this name" in ran.stderr.decode()


@pytest.mark.parametrize(("order", "word"), [("seal", "sealed"), ("lockdown", "lockdown")])
def test_an_import_into_a_served_vault_whose_names_are_closed_is_exit_code_3_at_once_and_makes_nothing(
    served: Server, tmp_path: Path, order: str, word: str
) -> None:
    file = as_lines(tmp_path / "people.jsonl", [line(1)])
    served.run("keys", order)
    begun = time.monotonic()
    said = in_fork(["import", str(file), "--provider", "chat", "--json"], served.environment)
    took = time.monotonic() - begun
    served.run("keys", "unseal")
    assert (said.returncode, said.stdout) == (3, ""), said.stderr
    assert word in said.stderr
    assert took < START_SECONDS / 2
    assert served.sql("directory", "select count(*) from import")[0][0] == 0


def test_an_import_starts_no_second_server_where_one_answers_that_it_is_not_ready(tmp_path: Path) -> None:
    """Not where another vault has the address, either: what answers there is not this one."""
    server = Server(tmp_path / "home").start()
    server.provider("chat")
    assert server.stop() == 0
    with not_ready() as port:
        environment = server.environment | {"IDVAULT_BIND": f"127.0.0.1:{port}"}
        file = as_lines(tmp_path / "people.jsonl", [line(1)])
        said = in_fork(["import", str(file), "--provider", "chat"], environment)
    assert (said.returncode, said.stdout) == (1, ""), said.stderr
    assert "/readyz" in said.stderr
    assert "another server" not in said.stderr


@contextmanager
def not_ready() -> Iterator[int]:
    """Have a server that says 503 to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        try:
            yield made.server_port
        finally:
            made.shutdown()
            thread.join()
