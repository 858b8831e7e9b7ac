"""The demonstration: the whole story of the vault on specimen people, played over HTTP against a vault of its own."""
