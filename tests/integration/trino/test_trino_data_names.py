from tests.embedded.test_data_names import *  # noqa: F403
