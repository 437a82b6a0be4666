from tests.embedded.warehouse.test_warehouse_publish import *  # noqa: F403
