import io

import pytest
from flask.testing import FlaskClient

from tests.web.stub import StubVault
from vault.logs import configure
from vault.web.app import VaultApp, create_app


@pytest.fixture
def vault() -> StubVault:
    return StubVault()


@pytest.fixture
def log() -> io.BytesIO:
    return io.BytesIO()


@pytest.fixture
def app(vault: StubVault, log: io.BytesIO) -> VaultApp:
    return create_app(vault.vault, configure(log))


@pytest.fixture
def http(app: VaultApp) -> FlaskClient:
    return app.test_client()
