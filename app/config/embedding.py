from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from app.config.section import Section
from app.config.values import AsList, Directory

Part = Literal["ingestion", "spark", "sql", "lake"]


class Embedding(Section):
    model_config = SettingsConfigDict(title="Embedded engines")

    asgard_home: Directory = Path(".asgard")
    """Where the embedded lakehouse, logs, keys and secrets of connectors are kept."""
    asgard_embedded: Annotated[frozenset[Part], NoDecode, AsList] = Field(
        default=frozenset(), examples=["ingestion,spark"]
    )
    """Parts that stay embedded beside production ones; never in production."""
    kubernetes_service_host: str | None = None
    """Set by the kubelet in every pod: there the ServiceAccount opens the Kubernetes API, and
    nothing is embedded by itself."""
