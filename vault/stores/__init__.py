"""The stores: the only place of the service that knows SQLAlchemy."""
