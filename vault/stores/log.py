"""The log store. Its layout comes with the sequencer; for now it remembers which outbox rows were drained."""

from sqlalchemy import Column, LargeBinary, MetaData, Table

metadata = MetaData()

drained = Table(
    "drained",
    metadata,
    Column("id", LargeBinary, primary_key=True),
)
