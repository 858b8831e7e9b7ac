"""What `idvault serve` has its server load in each worker: the application, begun at once.

A worker that has no request yet must not outlive its parent either.
"""

from wsgi import app

app.begin()
__all__ = ["app"]
