from tests.embedded.lakehouse.test_storage import *  # noqa: F403
