from tests.embedded.runs.test_runs import *  # noqa: F403
