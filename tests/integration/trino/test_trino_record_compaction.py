from tests.embedded.lakehouse.test_record_compaction import *  # noqa: F403
