"""What the root key is sealed with."""
