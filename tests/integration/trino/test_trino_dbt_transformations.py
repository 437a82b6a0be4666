from tests.embedded.test_dbt_transformations import *  # noqa: F403
