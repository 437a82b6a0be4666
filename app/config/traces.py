from pydantic import Field
from pydantic_settings import SettingsConfigDict

from app.config.section import Section
from app.config.values import Secret, Url, Word


class Traces(Section):
    model_config = SettingsConfigDict(title="Traces")

    otel_exporter_otlp_endpoint: Url | None = Field(
        default=None, examples=["http://collector.example.com:4318"]
    )
    """Where traces are sent, over OTLP/HTTP. None are made without."""
    otel_exporter_otlp_headers: Secret | None = Field(
        default=None, examples=["your-header=your-key"]
    )
    """What is sent along, a key above all: `name=value,name=value`."""
    otel_service_name: Word = "asgard"
    """As what traces show this gateway."""
