from tests.embedded.warehouse.test_deletions import *  # noqa: F403
