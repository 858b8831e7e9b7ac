"""The application for any WSGI server: `granian --interface wsgi wsgi:app`, `gunicorn wsgi:app`.

Stores and a running key agent must be there already (`idvault serve` sees to it); settings come from the environment.
"""

from vault.config import load
from vault.logs import configure
from vault.running import end_with_parent, end_with_seal
from vault.web.app import create_app
from vault.wiring import build

end_with_parent()
configure()
vault = build(load())
end_with_seal(vault)
app = create_app(vault)
