"""The key agent: supervisor, holders, wire and the acts."""
