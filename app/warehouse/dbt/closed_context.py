"""Limits templates in a worker's dbt to values and SQL, without Python, environment or files.

Jinja's sandbox closes only names that begin with an underscore, and dbt puts its own objects into
every template. Through `ref.model` a macro can write any file, through `ref.manifest` it can read
the project, and a query's result can write itself to any path. Here, objects show only the listed
attributes. The sandbox around the process does not depend on this module.
"""

from __future__ import annotations

from argparse import Namespace as Flags
from collections.abc import Iterator
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from re import Match, Pattern
from types import NoneType
from typing import Any, NoReturn

from agate import MappedSequence, Table  # type: ignore[import-untyped]
from dbt.adapters.base.column import Column
from dbt.adapters.base.impl import BaseAdapter
from dbt.adapters.base.query_headers import QueryHeaderContextWrapper
from dbt.adapters.base.relation import BaseRelation
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.contracts.relation import FakeAPIObject
from dbt.context.base import BaseContext, Var
from dbt.context.macros import MacroNamespace
from dbt.context.providers import (
    BaseDatabaseWrapper,
    ParseConfigObject,
    RelationProxy,
    RuntimeConfigObject,
)
from dbt_common.clients.jinja import MacroFuzzEnvironment
from dbt_common.dataclass_schema import dbtClassMixin
from dbt_common.exceptions import DbtRuntimeError
from jinja2.runtime import LoopContext, Undefined
from jinja2.sandbox import SandboxedEnvironment
from jinja2.utils import Cycler, Joiner, Namespace

CLOSED = ("env_var", "load_agate_table", "submit_python_job")
"""Functions of dbt's context that raise."""
CLOSED_OF_RELATION = ("create_from", "create_from_source")
"""dbt-duckdb formats a text with the node from which it makes a relation."""
CLOSED_OF_ADAPTER = ("get_catalog_integration", "get_seed_file_path", "store_relation")

VALUES = (
    *(NoneType, bool, int, float, complex, Decimal, str, bytes, date, time, timedelta, tzinfo),
    *(list, tuple, set, frozenset, dict, MappedSequence, Match, Pattern, Flags),
    *(LoopContext, Undefined, Cycler, Joiner, Namespace),
    *(Column, AdapterResponse, MacroNamespace),
)
"""Types whose attributes lead only to values and to SQL."""
_CONFIG = {"get", "meta_get", "meta_require", "persist_column_docs", "persist_relation_docs"}
_CONFIG |= {"require", "set"}
SHOWN: tuple[tuple[type, set[str]], ...] = (
    (Table, {"column_names", "column_types", "columns", "rows"}),
    (Var, {"has_var"}),
    (RuntimeConfigObject, _CONFIG),
    (ParseConfigObject, _CONFIG),
)


def close_context() -> None:
    """Close the context for the whole process. This cannot be undone."""
    for context in (BaseContext, *_subclasses(BaseContext)):
        for name in CLOSED:
            if name in context._context_members_:
                context._context_members_[name] = _closed(name)
    for adapter in (BaseAdapter, *_subclasses(BaseAdapter)):
        if "submit_python_job" in vars(adapter):
            adapter.submit_python_job = _closed("submit_python_job")
    MacroFuzzEnvironment.is_safe_attribute = _is_shown  # type: ignore[method-assign]
    FakeAPIObject.__getitem__ = _item  # type: ignore[method-assign]


def _is_shown(self: SandboxedEnvironment, obj: Any, attr: str, value: Any) -> bool:
    if not SandboxedEnvironment.is_safe_attribute(self, obj, attr, value):
        return False
    kind = obj if isinstance(obj, type) else type(obj)
    if issubclass(kind, BaseRelation | RelationProxy):
        return attr not in CLOSED_OF_RELATION
    if issubclass(kind, VALUES):
        return True
    if issubclass(kind, BaseDatabaseWrapper):
        return attr not in CLOSED_OF_ADAPTER and attr != "config"
    if issubclass(kind, dbtClassMixin | QueryHeaderContextWrapper):
        return attr == "get" or not callable(value)
    return any(attr in names for shown, names in SHOWN if issubclass(kind, shown))


def _item(self: FakeAPIObject, name: str) -> Any:
    """Return an attribute of a relation as an item of it, which Jinja does not check."""
    if name.startswith("_") or name in CLOSED_OF_RELATION:
        raise DbtRuntimeError(f"A relation has no item {name[:100]!r} in Asgard's workers.")
    try:
        return getattr(self, name)
    except AttributeError:
        raise KeyError(name) from None


def _closed(name: str) -> Any:
    def refuse(*_: Any, **__: Any) -> NoReturn:
        raise DbtRuntimeError(f"{name} is not available in Asgard's workers.")

    return refuse


def _subclasses(kind: type) -> Iterator[Any]:
    for sub in kind.__subclasses__():
        yield sub
        yield from _subclasses(sub)
