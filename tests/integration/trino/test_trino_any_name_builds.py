from tests.embedded.warehouse.test_any_name_builds import *  # noqa: F403
