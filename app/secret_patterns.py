"""The forms of a text that holds a credential, no matter which program wrote it."""

import re

HIDDEN = "***"
PATTERNS = (
    # Credentials in an address; a password may hold an @.
    (re.compile(r"(\w://)[^\s\"'/<>]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b((?i:bearer|basic)) +(?=\S*[0-9A-Z])[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # A JWT or an Asgard key.
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\basgard_[0-9a-f]{12}_[\w-]{20,}"), HIDDEN),
    # A key in PEM format. What follows one without an end may be a part of it.
    (
        re.compile(
            r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY.*?"
            r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
            re.DOTALL,
        ),
        HIDDEN,
    ),
)
