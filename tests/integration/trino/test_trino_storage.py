from tests.embedded.test_storage import *  # noqa: F403
