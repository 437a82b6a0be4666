from tests.embedded.lakehouse.test_catalog import *  # noqa: F403
