from tests.embedded.warehouse.test_dbt_transformations import *  # noqa: F403
