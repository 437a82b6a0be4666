"""The base of all request bodies."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """Refuses unknown fields: an ignored field would be a choice without effect."""

    model_config = ConfigDict(extra="forbid")
