"""`python -m bench.backups 100000`: how long a backup of so many people takes, and to bring the vault back from it.

The vault is backed up while it is served, and comes back in empty databases with the mirror of its log; one person in a
hundred was erased meanwhile.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import click
import orjson

from bench.importing import RESULTS, Run, stores_of, write
from tests.http.test_backups import Place, moved
from tests.serving import Client, Server

_PROVIDER: Final = "bench"
_ERASED_IN: Final = 100
_PAGE: Final = 200


def measure(folder: Path, count: int, database: str) -> dict[str, Any]:
    """Return the figures of one size."""
    file = folder / "people.jsonl"
    write(file, count)
    with stores_of(folder, database):
        server = Server(folder / "home", IDVAULT_WORKERS=str(max(2, os.cpu_count() or 1)), IDVAULT_SEQUENCER="yes")
        server.start()
        try:
            provider = server.provider(_PROVIDER)
            Run(server, file, []).whole(0, count)
            place = Place(server, folder / "place")
            begun = time.monotonic()
            backup = place.backup()
            backed_up = time.monotonic() - begun
            erased = _erase(provider, count // _ERASED_IN)
            mirror = place.mirrored()
        finally:
            server.stop()
        other = place.empty_machine()
        begun = time.monotonic()
        found = place.restore(other, backup, "--mirror", str(mirror))
        restored = time.monotonic() - begun
        other.start()
        answered = time.monotonic() - begun
        again = moved(provider, other)
        again.get("/v1/accounts?limit=1")
        other.stop()
    if found["erased"] != erased:
        raise SystemExit(f"bench: {found['erased']} were erased again of {erased}")
    return {
        "people": count, "database": database, "bytes": found["bytes"], "erased": erased, "backup_seconds": backed_up,
        "restore_seconds": restored, "until_it_answers_seconds": answered,
        "backup_people_per_second": count / backed_up, "restore_people_per_second": count / restored,
    }  # fmt: skip


def _erase(provider: Client, count: int) -> int:
    """End so many registrations; return how many that were."""
    ended = 0
    while ended < count:
        some = provider.get(f"/v1/registrations?state=in_review&limit={_PAGE}").json()["items"][: count - ended]
        if not some:
            raise SystemExit("bench: too few registrations are listed")
        for one in some:
            if provider.call("DELETE", f"/v1/registrations/{one['id']}").is_error:
                raise SystemExit("bench: a registration was not ended")
        ended += len(some)
    return ended


@click.command()
@click.argument("counts", nargs=-1, type=click.IntRange(100), required=True)
@click.option("--database", type=click.Choice(["postgresql", "sqlite"]), default="postgresql", show_default=True)
@click.option("--json", "target", type=click.Path(path_type=Path), help="Where the figures go; default: bench/results.")
def main(counts: tuple[int, ...], database: str, target: Path | None) -> None:
    """Measure a backup of COUNTS people and a restore from it, each in a fresh vault."""
    RESULTS.mkdir(exist_ok=True)
    told = []
    for count in counts:
        with tempfile.TemporaryDirectory(dir=RESULTS) as name:
            told.append(measure(Path(name), count, database))
        click.echo(orjson.dumps(told[-1], option=orjson.OPT_INDENT_2).decode())
    target = target or RESULTS / time.strftime("backups-%Y%m%d-%H%M%S.json")
    target.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
