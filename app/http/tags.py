"""Texts for the tags of the OpenAPI document: one tag for each group of routes."""

TAGS = [
    {
        "name": "airbyte",
        "description": "Ingestion. A **source** is read by an **ingestion**, which writes files to "
        "a **destination**: the bronze layer of the lake.",
    },
    {
        "name": "spark",
        "description": "Bronze to silver. A job runs Spark SQL over the files in bronze and writes "
        "the result as an Iceberg table.",
    },
    {
        "name": "dbt",
        "description": "Silver to gold. A **transformation** is one SELECT in Trino's dialect. dbt "
        "builds it as a table, a view or an incremental table.",
    },
    {
        "name": "data products",
        "description": "Gold tables with an owner, consumers, lineage and a freshness target.",
    },
    {
        "name": "runs",
        "description": "All work in one list, whichever engine does it: its state, log, events, "
        "inputs and output.",
    },
    {
        "name": "audit",
        "description": "Every change, with its caller and its outcome. Needs the scope `admin`.",
    },
    {"name": "problems", "description": "The kinds of errors (RFC 9457)."},
    {"name": "health", "description": "Liveness, readiness and metrics of the gateway."},
]
