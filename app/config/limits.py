from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import MONTH, Seconds


class RunLimits(Section):
    model_config = SettingsConfigDict(title="Limits of runs")

    max_queued: int = Field(default=1000, ge=1)
    """Maximum number of open runs. Further runs are refused with 429."""
    max_runs_per_caller: int = Field(default=100, ge=0)
    """Maximum number of open runs per caller. Further runs are refused with 429. 0 means no limit.
    Does not apply to callers without a name (AUTH_MODE=none)."""
    max_running_per_engine: int | None = Field(default=None, ge=1, examples=["50"])
    """Maximum number of runs of one kind that a gateway executes at once. Default: 50 in Airbyte
    and on Kubernetes, which have their own queues, 2 on embedded engines, and DBT_WORKERS for
    SQL."""
    run_timeout: Seconds = Field(default=3600, gt=0, le=MONTH)
    """Time limit of a run. A run that takes longer fails with the cause `timeout`."""
