"""`GET /metrics`: for an operator alone, of all workers together, and about nobody."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.people import person
from tests.serving import Client, Server
from vault import metrics
from vault.services.figures import KEPT_SECONDS

pytestmark = pytest.mark.sampled

LABELS = {
    "method": r"GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS|OTHER", "status": r"[1-5]xx", "act": r"[a-z.]+",
    "route": r"-|(/v1)?/[a-z_/.<>:-]*", "outcome": r"[a-z_-]+", "le": r"[0-9.]+|\+Inf", "version": r"[0-9.]+",
    "kind": r"create|disclosures|exchange|identity|account|match", "store": r"identity|directory|log|keys",
    "socket": r"directory|identity",
}  # fmt: skip
"""Every label that there may be, and what its values look like."""
_TOLD_SECONDS = 10


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("metrics") / "home").start()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def watcher(served: Server) -> Client:
    made = served.json("operator", "add", "watch")
    return Client(served, made["client_id"], made["client_secret"])


def _page(watcher: Client) -> str:
    answer = watcher.get("/metrics")
    assert answer.status_code == 200, answer.text
    return answer.text


def _page_in_time(watcher: Client, holds: Callable[[str], bool]) -> str:
    """Return the first page of which this holds: workers keep counts and figures a while before they tell them."""
    end = time.monotonic() + _TOLD_SECONDS
    while not holds(page := _page(watcher)):
        assert time.monotonic() < end, page
        time.sleep(KEPT_SECONDS / 10)
    return page


def _value(page: str, start: str) -> float:
    """Return the sum of the samples whose line begins so."""
    return sum(float(line.rpartition(" ")[2]) for line in page.splitlines() if line.startswith(start))


def test_requests_acts_budgets_and_queues_are_counted_over_all_workers(served: Server, watcher: Client) -> None:
    introspected = 'idvault_request_seconds_count{method="POST",route="/oauth/introspect",status='
    before = _page(watcher)
    chat = served.provider("chat")
    made = chat.registered(person(1), "one")
    for _ in range(20):
        chat.introspect(made["token"])
        chat.http.close()  # the next one may be another worker's
        chat = Client(served, chat.id, chat.secret)
    chat.http.post("/oauth/introspect", data={"token": "x"})
    more = (
        (introspected + '"2xx"}', 20), (introspected + '"4xx"}', 1),
        ('idvault_act_seconds_count{act="create",outcome="ok"}', 1), ('idvault_budget_used{kind="create"}', 1),
        ('idvault_reviews_open{kind="identity"}', 1),
    )  # fmt: skip
    page = _page_in_time(
        watcher, lambda page: all(_value(page, start) == _value(before, start) + count for start, count in more)
    )
    assert 0 < _value(page, 'idvault_budget_fullest_ratio{kind="create"}') < 1
    assert _value(page, 'idvault_outbox_rows{store="keys"}') >= 1
    assert _value(page, 'idvault_outbox_rows{store="directory"}') >= 2
    assert _value(page, "idvault_resident_bytes") > 2 * 20_000_000
    assert _value(page, "idvault_build_info") == 1
    assert _value(page, 'idvault_agent_up{socket="identity"}') == 1


def test_nobody_but_an_operator_reads_them(served: Server, watcher: Client) -> None:
    chat, rita = served.provider("other"), served.reviewer("rita")
    assert chat.http.get("/metrics").status_code == 401
    assert chat.http.get("/metrics", headers={"Authorization": "Bearer vat_x"}).status_code == 401
    for client in (chat, rita):
        answer = client.get("/metrics")
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:idvault:problem:forbidden")
    for path in ("/v1/accounts", "/v1/registrations", "/v1/reviews"):
        assert watcher.get(path).status_code == 403
    form = {"token": "nym_x"}
    assert watcher.http.post("/oauth/introspect", data=form, auth=(watcher.id, watcher.secret)).status_code != 200


def test_no_label_or_name_is_of_a_person_a_provider_or_a_pair(served: Server, watcher: Client) -> None:
    chat, blog = served.provider("markedchat"), served.provider("markedblog")
    served.json("provider", "allow-exchange", "markedchat", "markedblog", "--purpose", "markedpurpose",
                "--basis", "legal")  # fmt: skip
    rita = served.reviewer("markedrita")
    made = chat.registered(person(7), "markedhandle", external_id="markedexternal")
    rita.approve(made["id"])
    grant = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": made["token"],
        "subject_token_type": "urn:idvault:token-type:pseudonym", "audience": blog.id, "scope": "markedpurpose",
    }  # fmt: skip
    assert chat.http.post("/oauth/token", data=grant, auth=(chat.id, chat.secret)).status_code == 200
    chat.get("/markedpath/markedname")
    chat.http.request("MARKED", "/v1/accounts/markedaccount")
    page = _page_in_time(
        watcher,
        lambda page: 'method="OTHER"' in page and _value(page, 'idvault_budget_used{kind="exchange"}') == 1,
    )
    for secret in ("marked", chat.id, blog.id, rita.id, watcher.id, made["token"], made["id"], made["account"]):
        assert secret not in page
    found = set()
    for name, value in re.findall(r'([a-z_]+)="([^"]*)"', page):
        assert re.fullmatch(LABELS[name], value), (name, value)
        found.add(name)
    assert found == set(LABELS)


def test_a_disabled_operator_reads_nothing_any_more(served: Server) -> None:
    made = served.json("operator", "add", "short")
    client = Client(served, made["client_id"], made["client_secret"])
    assert client.get("/metrics").status_code == 200
    served.json("operator", "disable", "short")
    assert client.get("/metrics").status_code == 401


def test_the_folder_of_counts_is_emptied_at_each_start_and_is_for_its_owner_alone(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir(mode=0o755)
    (folder / "1.json").write_bytes(b"left over")
    metrics.begin(tmp_path)
    assert list(folder.iterdir()) == []
    assert (folder.stat().st_mode & 0o777) == 0o700
