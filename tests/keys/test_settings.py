"""The agent's settings: its limits and who may connect; the start stops on what is unusable."""

from dataclasses import fields

import pytest

from keys.agent import configured, settings
from keys.agent.names import Limits
from keys.errors import SetupError
from vault.config import Settings

LIMITS = [field.name for field in fields(Limits)]


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_is_a_setting_within_its_range(name: str) -> None:
    variable = f"IDVAULT_{name.upper()}"
    least, most = settings.LEAST.get(name, 1), settings.MOST.get(name, 999_999_999)
    for good in (least, most):
        assert getattr(settings.limits({variable: str(good)}, development_seal=True), name) == good
    for bad in (str(least - 1), str(most + 1), "", "many-4711", "1.5", "\uff11"):
        with pytest.raises(SetupError) as caught:
            settings.limits({variable: bad}, development_seal=True)
        assert str(caught.value) == f"{variable}: a whole number from {least} to {most}"


def test_setting_one_limit_changes_no_other() -> None:
    changed = settings.limits({"IDVAULT_EVIDENCE_VIEWS": "7"}, development_seal=True)
    assert changed == Limits(evidence_views=7)


def test_a_vault_with_a_real_seal_has_a_common_tick_of_an_hour_and_the_development_vault_none() -> None:
    assert settings.limits({}, development_seal=False) == Limits(match_tick_seconds=3600)
    assert settings.limits({}, development_seal=True) == Limits()
    given = {"IDVAULT_MATCH_TICK_SECONDS": "60"}
    for development in (True, False):
        assert settings.limits(given, development_seal=development).match_tick_seconds == 60


def test_the_settings_of_the_service_are_those_that_the_agent_leaves_to_it() -> None:
    assert {field.name for field in fields(Settings)} == configured.SERVICE


def test_without_settings_no_other_user_may_connect() -> None:
    assert settings.peers({}) == ({}, {})


def test_a_socket_is_opened_to_the_users_that_its_settings_name_and_no_other_socket_is() -> None:
    given = {"IDVAULT_IDENTITY_SOCKET_UIDS": "901,902", "IDVAULT_IDENTITY_SOCKET_GID": "950"}
    assert settings.peers(given) == ({"identity": frozenset({901, 902})}, {"identity": 950})


@pytest.mark.parametrize("name", settings.SOCKETS)
@pytest.mark.parametrize(
    ("users", "group"),
    [("901", None), (None, "950"), ("", "950"), ("901,", "950"), ("root", "950"), ("901", "wheel"), ("-1", "950")],
)
def test_users_without_a_group_or_what_is_no_number_stops_the_start(
    name: str,
    users: str | None,
    group: str | None,
) -> None:
    pair = {f"IDVAULT_{name.upper()}_SOCKET_UIDS": users, f"IDVAULT_{name.upper()}_SOCKET_GID": group}
    with pytest.raises(
        SetupError, match=f"^IDVAULT_{name.upper()}_SOCKET_UIDS and IDVAULT_{name.upper()}_SOCKET_GID: "
    ):
        settings.peers({variable: value for variable, value in pair.items() if value is not None})


def test_every_variable_of_the_agent_is_handed_on_to_the_agent_that_serve_starts() -> None:
    limits = {f"IDVAULT_{name.upper()}" for name in LIMITS}
    doors = {f"IDVAULT_{door.upper()}_SOCKET_{what}" for door in settings.SOCKETS for what in ("UIDS", "GID")}
    assert limits | doors | {"IDVAULT_LOG_MIRROR"} == settings.NAMES
