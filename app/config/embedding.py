from pathlib import Path
from typing import Annotated

from pydantic import Field
from pydantic_settings import NoDecode, SettingsConfigDict

from app.config.section import Part, Section
from app.config.values import AsList, Directory


class Embedding(Section):
    model_config = SettingsConfigDict(title="Embedded engines")

    asgard_home: Directory = Path(".asgard")
    """Directory of the embedded lakehouse, logs, keys and connector secrets."""
    asgard_embedded: Annotated[frozenset[Part], NoDecode, AsList] = Field(
        default=frozenset(), examples=["ingestion,spark"]
    )
    """Parts that stay embedded while others use production engines. Not allowed in production."""
    kubernetes_service_host: str | None = None
    """Set by the kubelet in every pod. Asgard then uses the pod's ServiceAccount for the Kubernetes
    API, and embeds no engine by default."""
