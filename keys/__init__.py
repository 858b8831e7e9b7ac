"""Key management: the only package that holds keys; knows nothing of the service."""
