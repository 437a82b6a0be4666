from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import MONTH, Seconds


class RunLimits(Section):
    model_config = SettingsConfigDict(title="Limits of runs")

    max_queued: int = Field(default=1000, ge=1)
    """Open runs beyond this many are refused with 429."""
    max_runs_per_caller: int = Field(default=100, ge=0)
    """Open runs of one caller beyond this many are refused with 429; 0 is no limit. Does not bind
    callers without a name (AUTH_MODE=none)."""
    max_running_per_engine: int | None = Field(default=None, ge=1, examples=["50"])
    """Runs of one kind that a gateway has going at once. Default: 50 in Airbyte and on Kubernetes,
    which have queues of their own; 2 on embedded engines; DBT_WORKERS for SQL."""
    run_timeout: Seconds = Field(default=3600, gt=0, le=MONTH)
    """A run that goes on for longer is ended as failed, with the cause `timeout`."""
