from tests.contract.test_text_in_bodies import *  # noqa: F403
