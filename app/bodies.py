"""What all bodies of requests have in common."""

from pydantic import BaseModel, ConfigDict


class Body(BaseModel):
    """A field that it does not know is refused: ignored, it would be a choice without effect."""

    model_config = ConfigDict(extra="forbid")
