"""Counting: each observation into its bucket, all processes together, and a second lost at most."""

import multiprocessing
import threading
import time
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import CollectorRegistry

from vault.metrics import BUCKETS_SECONDS, Metrics
from vault.web.pages.metrics import _Scrape

ROUTE = ("GET", "/x", "2xx")


def _counted(metrics: Metrics) -> list[float]:
    return metrics.gathered()["request_seconds"][ROUTE]


def test_each_observation_falls_into_the_first_bucket_that_it_is_not_above(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.begin(tmp_path, {})
    for seconds in (*BUCKETS_SECONDS, 11.0):
        metrics.request("GET", "/x", 200, seconds)
    metrics.request("GET", "/x", 204, 0.0)
    assert _counted(metrics) == [2, *[1] * len(BUCKETS_SECONDS), sum(BUCKETS_SECONDS) + 11.0]


def test_threads_lose_no_observation_to_each_other(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.begin(tmp_path, {})

    def observe() -> None:
        for _ in range(5000):
            metrics.request("GET", "/x", 200, 0.002)

    threads = [threading.Thread(target=observe) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _counted(metrics)[1] == 20_000


def _other_process(home: Path) -> None:
    metrics = Metrics()
    metrics.begin(home, {"requests_working": lambda: 5})
    for _ in range(3):
        metrics.request("GET", "/x", 200, 0.002)
    metrics.refused()
    metrics.tell()


def test_counts_of_a_process_that_ended_stay_and_its_gauges_go(tmp_path: Path) -> None:
    other = multiprocessing.get_context("fork").Process(target=_other_process, args=(tmp_path,))
    other.start()
    metrics = Metrics()
    metrics.begin(tmp_path, {"requests_working": lambda: 1})
    metrics.request("GET", "/x", 200, 0.002)
    other.join()
    other.close()
    gathered = metrics.gathered()
    assert gathered["request_seconds"][ROUTE][1] == 4
    assert gathered["overload_refusals"][()] == [1]
    assert gathered["requests_working"][()] == [1]


def test_a_process_tells_its_counts_by_itself(tmp_path: Path) -> None:
    one, other = Metrics(), Metrics()
    one.begin(tmp_path, {})
    [file] = _files(tmp_path)
    elsewhere = file.with_name("1.json")
    one.request("GET", "/x", 200, 0.002)
    end = time.monotonic() + 5
    while b"/x" not in file.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.01)
    file.rename(elsewhere)
    other.begin(tmp_path, {})
    assert _counted(other)[1] >= 1


def _files(home: Path) -> list[Path]:
    end = time.monotonic() + 5
    while not (found := list((home / "metrics").glob("*.json"))):
        assert time.monotonic() < end
        time.sleep(0.01)
    return found


def test_what_is_shown_is_prometheus_form_with_histograms_that_add_up(tmp_path: Path) -> None:
    metrics = Metrics()
    metrics.begin(tmp_path, {})
    for seconds in (0.002, 0.02, 20.0):
        metrics.request("GET", "/x", 200, seconds)
    registry = CollectorRegistry()
    registry.register(_Scrape(metrics.gathered(), {"intents_open": {(): 2}}))
    samples = {
        (sample.name, sample.labels.get("le", "")): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    assert samples["idvault_request_seconds_bucket", "0.001"] == 0
    assert samples["idvault_request_seconds_bucket", "0.01"] == 1
    assert samples["idvault_request_seconds_bucket", "10.0"] == 2
    assert samples["idvault_request_seconds_bucket", "+Inf"] == samples["idvault_request_seconds_count", ""] == 3
    assert samples["idvault_request_seconds_sum", ""] == 20.022
    assert samples["idvault_intents_open", ""] == 2
    counters = ("overload_refusals", "client_limit_refusals", "introspections_remembered")
    assert [samples[f"idvault_{name}_total", ""] for name in counters] == [0, 0, 0]
