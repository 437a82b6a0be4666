"""A field of a data product is accepted, stored and shown, or it would vanish without an error."""

from app.data_products.record import ProductDoc
from app.data_products.schemas import ProductCreate, ProductUpdate
from app.data_products.views import ProductView

MADE = {"table_name", "schema_name", "guarded_sql", "deleting"}
"""The fields of a record that no request has."""


def test_every_field_of_a_request_is_stored() -> None:
    assert set(ProductCreate.model_fields) == set(ProductDoc.model_fields) - MADE


def test_every_field_can_be_changed() -> None:
    assert set(ProductUpdate.model_fields) - {"version"} == set(ProductCreate.model_fields)


def test_every_stored_field_is_shown() -> None:
    assert set(ProductDoc.model_fields) - {"guarded_sql", "deleting"} <= set(
        ProductView.model_fields
    )


def test_null_becomes_the_value_of_a_new_product() -> None:
    cleared = ("description", "consumers", "tags", "metadata")
    changes = ProductUpdate.model_validate(dict.fromkeys(cleared)).changes()
    assert changes == {"description": "", "consumers": (), "tags": (), "metadata": {}}
