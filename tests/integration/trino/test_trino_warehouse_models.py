from tests.embedded.test_warehouse_models import *  # noqa: F403
