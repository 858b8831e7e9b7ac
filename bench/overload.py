"""`python -m bench.overload`: what a vault answers, refuses and how late, at loads below and beyond what it can bear.

Registrations are sent at their times whether earlier ones are answered or not, and late is counted from the time at
which one was to be sent: so a vault that falls behind cannot slow its callers down and look better for it.
"""

import asyncio
import itertools
import math
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import click
import matplotlib as mpl

from bench.load import Target
from bench.report import PAGE, PLOTS
from bench.served import cluster_of, served_vault

mpl.use("svg")
from matplotlib import pyplot as plt

PARTS: Final = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 0.5)
"""Offered loads by the best rate; the last shows that the vault recovers."""
CLOSED: Final = 32
"""Callers who find the best rate: each sends when it has its answer."""
ACCEPTED, REFUSED = 202, 503
BEGIN, END = "<!-- begin: bench/overload.py -->\n", "<!-- end: bench/overload.py -->\n"
_HEAD: Final = "| offered, a second | of the best rate | answered | refused | p50 ms | p99 ms | p99 of refusals, ms |\n"


@dataclass
class Span:
    """What came of one offered load: seconds until each answer, by what it was."""

    part: float
    offered: float
    seconds: float = 0.0
    late: dict[int, list[float]] = field(default_factory=lambda: {ACCEPTED: [], REFUSED: []})

    def rate(self, status: int) -> float:
        """Return answers of a status a second."""
        return len(self.late[status]) / self.seconds

    def late_ms(self, status: int, part: float) -> float:
        """Return within how many milliseconds so great a part of the answers of a status came; NaN without any."""
        sorted_late = sorted(self.late[status])
        return sorted_late[min(len(sorted_late) - 1, int(len(sorted_late) * part))] * 1000 if sorted_late else math.nan


class Caller:
    """Sends registrations over as many connections as are needed at once."""

    def __init__(self, target: Target) -> None:
        address, _, self._path = target.url.removeprefix("http://").partition("/")
        self._host, _, port = address.partition(":")
        self._port, self._head = int(port), "".join(f"{name}: {value}\r\n" for name, value in target.headers.items())
        self._bodies = iter(target.bodies)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, span: Span, due: float) -> None:
        """Send one request and put its answer down."""
        body = next(self._bodies).encode()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port)
        writer.write(
            f"POST /{self._path} HTTP/1.1\r\nHost: {self._host}\r\n{self._head}"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        span.late[int(head[9:12])].append(time.perf_counter() - due)
        self._idle.append((reader, writer))

    async def best(self, seconds: float) -> float:
        """Return the rate that callers get who wait for their answers."""
        span, end = Span(1, 0, seconds), time.perf_counter() + seconds

        async def one() -> None:
            while time.perf_counter() < end:
                await self.send(span, time.perf_counter())

        await asyncio.gather(*(one() for _ in range(CLOSED)))
        return span.rate(ACCEPTED)

    async def offer(self, part: float, offered: float, seconds: float) -> Span:
        """Send at a rate for some seconds, and wait for what was sent."""
        span, sent, started = Span(part, offered), list[asyncio.Task[None]](), time.perf_counter()
        for due in self._due(started, offered, seconds):
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent.append(asyncio.create_task(self.send(span, due)))
        await asyncio.gather(*sent)
        span.seconds = time.perf_counter() - started
        return span

    @staticmethod
    def _due(started: float, offered: float, seconds: float) -> Iterator[float]:
        return itertools.takewhile(lambda due: due < started + seconds, itertools.count(started, 1 / offered))


async def curve(target: Target, seconds: float) -> list[Span]:
    """Return the spans of all loads."""
    caller = Caller(target)
    await caller.best(1)
    best = await caller.best(seconds)
    spans = []
    for part in PARTS:
        spans.append(await caller.offer(part, part * best, seconds))
        click.echo(_row(spans[-1]), err=True, nl=False)
    return spans


def _row(span: Span) -> str:
    cells = [span.late_ms(ACCEPTED, 0.5), span.late_ms(ACCEPTED, 0.99), span.late_ms(REFUSED, 0.99)]
    texts = ["-" if math.isnan(cell) else f"{cell:.0f}" for cell in cells]
    rates = f"{span.offered:.0f} | {span.part:g} | {span.rate(ACCEPTED):.0f} | {span.rate(REFUSED):.0f}"
    return f"| {rates} | {' | '.join(texts)} |\n"


def _draw(spans: Sequence[Span]) -> None:
    rising = spans[:-1]
    offered = [span.offered for span in rising]
    with mpl.rc_context({"svg.hashsalt": "idvault", "svg.fonttype": "none", "font.size": 9}):
        figure, (rates, late) = plt.subplots(1, 2, figsize=(8, 3))
        for status, name in ((ACCEPTED, "answered"), (REFUSED, "refused")):
            rates.plot(offered, [span.rate(status) for span in rising], marker="o", label=name)
        late.plot(offered, [span.late_ms(ACCEPTED, 0.99) for span in rising], marker="o", label="p99 of answers, ms")
        for axes in (rates, late):
            axes.set_xlabel("registrations offered a second")
            axes.set_ylim(bottom=0)
            axes.legend(frameon=False)
        PLOTS.mkdir(exist_ok=True)
        figure.savefig(PLOTS / "overload.svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
        plt.close(figure)


@click.command()
@click.option("--database", type=click.Choice(["postgresql", "sqlite"]), default="postgresql")
@click.option("--seconds", type=click.IntRange(1), default=10, show_default=True, help="How long each load lasts.")
@click.option("--write", is_flag=True, help="Write table and plot into docs/.")
def main(database: str, seconds: int, *, write: bool) -> None:
    """Offer a vault loads below and beyond what it can bear."""
    here = Path(__file__).with_name("results")
    here.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory(dir=here) as folder, cluster_of(Path(folder), database) as cluster,
        served_vault(Path(folder), cluster) as vault,
    ):  # fmt: skip
        target = vault.registrations((len(PARTS) + 2) * seconds)
        click.echo(_HEAD, err=True, nl=False)
        spans = asyncio.run(curve(target, seconds))
    table = _HEAD + "|" + "---|" * _HEAD.count(" |") + "\n" + "".join(_row(span) for span in spans)
    click.echo(table)
    if write:
        _draw(spans)
        before, _, rest = PAGE.read_text().partition(BEGIN)
        told = f"{'PostgreSQL 18' if database == 'postgresql' else 'SQLite'}, {seconds} seconds a load.\n\n"
        PAGE.write_text(
            before + BEGIN + told + table + "\n![Overload](figures/overload.svg)\n" + END + rest.partition(END)[2]
        )


if __name__ == "__main__":
    main()
