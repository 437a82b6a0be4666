from tests.embedded.warehouse.test_data_names import *  # noqa: F403
