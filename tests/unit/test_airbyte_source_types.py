"""The types of sources that Asgard reads itself are entries of a registry."""

from importlib import import_module

import pytest

from app.airbyte.local.source_types import SOURCE_TYPES
from app.airbyte.source_configs import TYPED


@pytest.mark.parametrize("type_", SOURCE_TYPES)
def test_a_type_has_a_config_and_a_reader(type_: str) -> None:
    source = SOURCE_TYPES[type_]
    assert TYPED[type_] is source.config
    reader = import_module(source.reader)
    assert callable(reader.read_file)
    assert callable(reader.file_streams)
