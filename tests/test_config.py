"""Settings: from where they come, of which type, and that the start stops on what is not a setting."""

from dataclasses import fields
from pathlib import Path

import pytest

from vault.config import STORES, Settings, load
from vault.errors import StartError

NUMBERS = [field.name for field in fields(Settings) if isinstance(field.default, int)]
TEXTS = [field.name for field in fields(Settings) if isinstance(field.default, str)]
PATHS = [field.name for field in fields(Settings) if isinstance(field.default, Path)]

LEAST = {"sanction_retention_days": 183, "import_results_days": 3, "introspection_cache_entries": 0}


def test_every_setting_is_of_one_of_three_types() -> None:
    assert sorted([*NUMBERS, *TEXTS, *PATHS]) == sorted(field.name for field in fields(Settings))
    assert {"workers", "max_body_bytes", "lease_seconds"} <= set(NUMBERS)


def test_without_anything_it_is_an_embedded_vault_on_this_machine() -> None:
    settings = load({})
    assert (settings.home, settings.bind, settings.role) == (Path("var"), "127.0.0.1:8400", "all")
    assert settings.embedded is True
    assert settings.address == ("127.0.0.1", 8400)
    assert settings.store_url("keys") == f"sqlite:///{Path('var').resolve()}/keys.db"


@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_comes_from_the_environment_and_is_at_least_one_unless_it_may_be_none(name: str) -> None:
    variable = f"IDVAULT_{name.upper()}"
    least = LEAST.get(name, 1)
    for good in (least, least + 3):
        assert getattr(load({variable: str(good)}), name) == good
    for short in range(1, least, 50):
        with pytest.raises(StartError, match=f"^{name}: at least {least}$"):
            load({variable: str(short)})
    for bad in ("0", "-1")[least == 0 :]:
        with pytest.raises(StartError) as caught:
            load({variable: bad})
        assert str(caught.value).startswith(f"{name}:")
        assert str(min(least, 1)) in str(caught.value)


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("bad", ["", "many-4711", "1.5", "1e3", "0x10", "NaN", "\uff11\uff12a"])
def test_what_is_no_number_stops_the_start_naming_the_key_and_not_the_value(name: str, bad: str) -> None:
    with pytest.raises(StartError) as caught:
        load({f"IDVAULT_{name.upper()}": bad})
    assert str(caught.value).startswith(f"{name}:")
    assert len(bad) < 2 or bad not in str(caught.value)


@pytest.mark.parametrize("name", PATHS)
def test_a_path_comes_from_the_environment(name: str) -> None:
    assert getattr(load({f"IDVAULT_{name.upper()}": "/srv/some where"}), name) == Path("/srv/some where")


@pytest.mark.parametrize("store", STORES)
def test_a_store_url_ends_the_embedded_mode(store: str) -> None:
    settings = load({f"IDVAULT_{store.upper()}_URL": "sqlite:////srv/x.db"})
    assert settings.embedded is False
    assert settings.store_url(store) == "sqlite:////srv/x.db"


def test_the_sockets_folder_is_the_agent_s_or_in_the_home(tmp_path: Path) -> None:
    assert load({"IDVAULT_AGENT": "/run/idvault"}).sockets == Path("/run/idvault")
    assert load({"IDVAULT_HOME": "/srv/v"}).sockets == Path("/srv/v/agent")
    deep = tmp_path / ("d" * 100)
    short = load({"IDVAULT_HOME": str(deep)}).sockets
    assert len(str(short / "directory.sock")) <= 100
    assert short == load({"IDVAULT_HOME": str(deep)}).sockets != load({"IDVAULT_HOME": f"{deep}e"}).sockets


@pytest.mark.parametrize(
    "name", ["IDVAULT_NONSENSE", "IDVAULT_", "IDVAULT_HOMES", "IDVAULT_ADDRESS", "IDVAULT_SOCKETS"]
)
def test_an_unknown_variable_stops_the_start_naming_the_key_alone(name: str) -> None:
    with pytest.raises(StartError) as caught:
        load({name: "secret-value"})
    assert name.removeprefix("IDVAULT_").lower() in str(caught.value)
    assert "secret-value" not in str(caught.value)


def test_variables_of_others_do_not_matter() -> None:
    assert load({"HOME": "/root", "XIDVAULT_NONSENSE": "1", "idvault_home": "/x"}) == Settings()


@pytest.mark.parametrize("role", ["all", "directory", "identity"])
def test_a_role_is_one_of_three(role: str) -> None:
    assert load({"IDVAULT_ROLE": role}).role == role


@pytest.mark.parametrize("role", ["", "ALL", "admin", "all "])
def test_another_role_stops_the_start(role: str) -> None:
    with pytest.raises(StartError, match=r"^role: one of all, directory, identity"):
        load({"IDVAULT_ROLE": role})


@pytest.mark.parametrize(("bind", "address"), [
    ("127.0.0.1:8400", ("127.0.0.1", 8400)), ("192.0.2.7:1", ("192.0.2.7", 1)),
    ("localhost:65535", ("localhost", 65535)),
])  # fmt: skip
def test_bind_is_host_and_port(bind: str, address: tuple[str, int]) -> None:
    assert load({"IDVAULT_BIND": bind}).address == address


def test_bind_takes_an_ipv6_address_in_brackets() -> None:
    """RFC 3986: the brackets belong to the written form, not to the address that is bound."""
    assert load({"IDVAULT_BIND": "[::1]:8400"}).address == ("::1", 8400)


@pytest.mark.parametrize("bind", ["", "8400", ":8400", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:-1",
                                  "127.0.0.1: 8400", "127.0.0.1:8400 "])  # fmt: skip
def test_another_form_of_bind_stops_the_start(bind: str) -> None:
    with pytest.raises(StartError, match=r"^bind: "):
        load({"IDVAULT_BIND": bind})


@pytest.mark.parametrize("bind", ["127.0.0.1:65536", "127.0.0.1:0", "127.0.0.1:99999999999",
                                  "127.0.0.1:\uff18\uff14\uff10\uff10", "::1:8400"])  # fmt: skip
def test_a_bind_that_cannot_be_bound_stops_the_start(bind: str) -> None:
    with pytest.raises(StartError, match=r"^bind: "):
        load({"IDVAULT_BIND": bind})


def test_the_file_gives_settings_and_the_environment_has_the_last_word(tmp_path: Path) -> None:
    file = tmp_path / "idvault.toml"
    file.write_text('home = "/srv/v"\nworkers = 5\nlease_seconds = 30\nbind = "127.0.0.1:9"\n')
    settings = load({"IDVAULT_CONFIG": str(file), "IDVAULT_WORKERS": "3"})
    assert (settings.home, settings.workers, settings.lease_seconds) == (Path("/srv/v"), 3, 30)
    assert settings.address == ("127.0.0.1", 9)


@pytest.mark.parametrize(("content", "key"), [
    ("nonsense = 1", "nonsense"), ("[workers]\na = 1", "workers"), ("workers = true", "workers"),
    ("workers = 1.5", "workers"), ("workers = [2]", "workers"), ("bind = 8400", "bind"), ("role = true", "role"),
    ("identity_url = []", "identity_url"), ("home = 7", "home"), ("home = ['a']", "home"), ("agent = true", "agent"),
    ("HOME = '/srv'", "HOME"), ("config = '/x'", "config"),
])  # fmt: skip
def test_a_file_with_a_wrong_key_or_type_stops_the_start(tmp_path: Path, content: str, key: str) -> None:
    file = tmp_path / "idvault.toml"
    file.write_text(content)
    with pytest.raises(StartError, match=f"^{key}: "):
        load({"IDVAULT_CONFIG": str(file)})


@pytest.mark.parametrize("content", [b"workers = ", b"a = 1\na = 2", b"\xff\xfe"])
def test_a_file_that_is_not_toml_stops_the_start(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "idvault.toml"
    file.write_bytes(content)
    with pytest.raises(StartError, match=r"^IDVAULT_CONFIG: "):
        load({"IDVAULT_CONFIG": str(file)})


def test_a_missing_file_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^IDVAULT_CONFIG: "):
        load({"IDVAULT_CONFIG": str(tmp_path / "none.toml")})
