"""People, handles, tokens, ids: no I/O and no framework."""
