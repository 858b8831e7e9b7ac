"""Health, readiness and documentation pages."""
