"""The application that `test_server` has granian serve."""

from tests.web.stub import StubVault
from vault.web.app import create_app

application = create_app(StubVault().vault)
