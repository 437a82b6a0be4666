from tests.embedded.test_catalog import *  # noqa: F403
