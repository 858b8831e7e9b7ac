"""Days to come, for whatever must end some day: one that is written down is past some day itself."""

from datetime import date, timedelta

from vault.domain.clock import SystemClock


def day(ahead: int) -> date:
    """Return the day in so many days, UTC."""
    return SystemClock().now().date() + timedelta(days=ahead)
