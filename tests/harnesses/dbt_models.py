from app.warehouse.definitions import DefinedModel
from app.warehouse.engine import ModelSpec


def defined(spec: ModelSpec) -> DefinedModel:
    """Return the model as a domain defines it. Another spec is another version."""
    return DefinedModel(spec.name, spec.sql, spec.materialization.is_view, spec, lambda: spec)
