from tests.embedded.lakehouse.test_records import *  # noqa: F403
