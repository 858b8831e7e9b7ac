"""What `idvault serve` has its server load in each worker: the application, begun at once.

A worker that has no request yet must not outlive its parent either.
"""

from vault.running import told_to_end
from wsgi import app

app.begin()
app.end_with(told_to_end())
__all__ = ["app"]
