from tests.embedded.warehouse.test_data_products import *  # noqa: F403
