from tests.embedded.test_any_name_builds import *  # noqa: F403
