from tests.embedded.test_warehouse_publish import *  # noqa: F403
