"""Recognizes values from documentation, examples and defaults, which are not credentials."""

import re

SHOWN = frozenset(
    {
        *("admin", "administrator", "default", "example", "foobar", "guest", "letmein", "root"),
        *("pass", "passwd", "password", "password1", "password123", "secret", "test", "user"),
        *("minio", "minio123", "minioadmin", "airbyte", "trino", "nessie", "asgard", "token"),
        *("key", "api-key", "apikey", "access-key", "secret-key", "s3cr3t", "qwerty", "12345678"),
        *("akiaiosfodnn7example", "wjalrxutnfemi/k7mdeng/bpxrficyexamplekey"),
    }
)
"""Well-known values, in lower case."""
TO_BE_REPLACED = re.compile(
    r"(https?://)?(your[-_ ]|change[-_ ]?(me|it|this)|replace[-_ ]?(me|this|with)|<.*>|\$\{|\{\{)",
    re.IGNORECASE,
)
REPEATED = re.compile(r"(.)\1*")


def asks_to_be_replaced(value: str) -> bool:
    """Return whether it is like `your-data-lake-bucket`, `<bucket>` or `changeme`."""
    return TO_BE_REPLACED.match(value.strip()) is not None


def is_placeholder(credential: str) -> bool:
    """Check the credential, and each side of `ID:SECRET`."""
    return any(
        asks_to_be_replaced(part)
        or part.strip().lower() in SHOWN
        or REPEATED.fullmatch(part.strip()) is not None
        for part in {credential, *credential.split(":")}
    )
