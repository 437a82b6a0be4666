from tests.embedded.test_views_stay_valid import *  # noqa: F403
