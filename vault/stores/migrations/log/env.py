"""Runs the migrations on the connection that `keys.migrating` passes."""

from keys.migrating import run

run()
