from tests.embedded.warehouse.test_warehouse_models import *  # noqa: F403
