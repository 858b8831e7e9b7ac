"""The domain: no I/O, so no fixture."""
