from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import Secret, Url, Word


class Traces(Section):
    model_config = SettingsConfigDict(title="Traces")

    otel_exporter_otlp_endpoint: Url | None = Field(
        default=None, examples=["http://collector.example.com:4318"]
    )
    """URL to which traces are sent over OTLP/HTTP. If unset, no traces are recorded."""
    otel_exporter_otlp_headers: Secret | None = Field(
        default=None, examples=["your-header=your-key"]
    )
    """Headers to send with traces, for example an API key: `name=value,name=value`."""
    otel_service_name: Word = "asgard"
    """Service name of this gateway in traces."""
