from tests.embedded.warehouse.test_views_stay_valid import *  # noqa: F403
