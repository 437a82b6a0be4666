"""Time limits of calls to S3 and the catalog."""

CONNECT_TIMEOUT = 2.0
"""Seconds to wait for a server to accept a connection, for S3 and the catalog."""
READ_TIMEOUT = 10.0
"""Seconds to wait for a server that accepted the connection to answer."""
