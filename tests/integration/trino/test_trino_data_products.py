from tests.embedded.test_data_products import *  # noqa: F403
