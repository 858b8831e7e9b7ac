"""Formats of the public log, and its verifier: bytes in, bytes out; what it reads from comes with the call."""
