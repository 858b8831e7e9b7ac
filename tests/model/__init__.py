"""The vault beside an in-memory model of it."""
