from tests.embedded.test_records import *  # noqa: F403
