"""Time limits of the calls to S3 and the catalog."""

CONNECT_TIMEOUT = 2.0
"""Seconds until a server that does not accept is given up; S3 and catalog alike."""
READ_TIMEOUT = 10.0
"""Seconds until a server that accepted and stays mute is given up."""
