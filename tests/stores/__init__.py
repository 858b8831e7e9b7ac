"""The stores: schemas and migrations."""
