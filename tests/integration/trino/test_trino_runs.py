from tests.embedded.test_runs import *  # noqa: F403
