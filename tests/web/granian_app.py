"""The applications that `test_server` and `test_ahead_served` have granian serve."""

from tests.web.stub import StubVault
from vault.web.app import create_app

application = create_app(StubVault().vault)

dispatched = create_app(StubVault().vault)
"""The same with nothing ahead of the dispatch."""
dispatched.ahead = {}
