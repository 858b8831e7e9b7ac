"""Alembic histories, run through its command API on an engine of ours: no configuration file, no logging set-up."""

from pathlib import Path

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from keys.engine import reading, writing

KEYS = Path(__file__).parent / "migrations"


def run() -> None:
    """Run migrations on the connection of the current command; called by each env.py."""
    context.configure(connection=context.config.attributes["connection"])
    context.run_migrations()


def _config(history: Path) -> Config:
    config = Config()
    config.set_main_option("script_location", str(history).replace("%", "%%"))
    return config


def upgrade(engine: Engine, history: Path, revision: str = "head") -> None:
    """Bring a store up to a revision, in one transaction."""
    config = _config(history)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def downgrade(engine: Engine, history: Path, revision: str) -> None:
    """Bring a store down to a revision, in one transaction."""
    config = _config(history)
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def current(engine: Engine) -> str | None:
    """Return the revision a store is at, or None for an empty one."""
    with reading(engine) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def knows(history: Path, revision: str) -> bool:
    """Tell whether a revision is one of a history's, so that a store at it can be brought up to the newest."""
    return revision in {one.revision for one in ScriptDirectory.from_config(_config(history)).walk_revisions()}


def head(history: Path) -> str | None:
    """Return the newest revision of a history."""
    return ScriptDirectory.from_config(_config(history)).get_current_head()
