"""A job lets Spark read nothing but the tables that the guard has seen, even if the guard errs."""

from pathlib import Path
from typing import Any

import pytest

from tests.integration.dialects.answers import asked_of_spark

REFUSED = (
    "SELECT * FROM text.`{file}`",
    "SELECT * FROM LATERAL text.`{file}`",
    "SELECT a FROM VALUES (1), (text.`{file}` AS x) AS t(a)",
    "SELECT z.* FROM VALUES (1), (ANY d), (text.`{file}`) z",
    "SELECT * FROM one, LATERAL (SELECT * FROM iceberg.asgard.audit)",
    "SELECT (SELECT max(a) FROM iceberg.asgard.audit) AS m FROM one",
    "SELECT a FROM one WHERE a IN (SELECT a FROM iceberg.hr.salaries)",
    "SELECT a FROM one WHERE EXISTS (SELECT 1 FROM iceberg.hr.salaries)",
    "WITH c AS (SELECT * FROM iceberg.asgard.audit) SELECT * FROM c",
    "SELECT * FROM one UNION ALL SELECT * FROM iceberg.asgard.audit.files",
    "SELECT * FROM iceberg.silver.t VERSION AS OF 1",
    "TABLE iceberg.asgard.audit",
    "SHOW TABLES",
    "SELECT * FROM one TABLESAMPLE (10 ROWS) JOIN other",
    "SELECT * FROM (SELECT a FROM other) PIVOT (sum(a) FOR a IN (1))",
    "SELECT TRANSFORM(a) USING 'cat' AS (b) FROM other",
)
ALLOWED = (
    "SELECT a FROM one",
    "WITH asgard_cte_0 AS (SELECT a FROM one) SELECT * FROM asgard_cte_0",
    "SELECT x.a + o.a AS b FROM (VALUES (1), (2)) AS x(a) JOIN one AS o ON true WHERE x.a = 1",
    "SELECT id FROM range(3) WHERE id IN (SELECT a FROM one)",
    "SELECT t.col FROM one, LATERAL explode(array(a)) AS t",
    "SELECT y FROM one LATERAL VIEW explode(array(a, a)) x AS y LIMIT 1",
)


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("secret") / "secret.txt"
    file.write_text("token=hunter2\n")
    return file


@pytest.fixture(scope="module")
def answers(spark_environment: dict[str, str], secret: Path) -> dict[str, Any]:
    view = "CREATE OR REPLACE TEMPORARY VIEW `one` AS SELECT 1 AS a"
    hidden = "CREATE OR REPLACE TEMPORARY VIEW `seen` AS SELECT * FROM other"
    texts = [*REFUSED, *ALLOWED]
    jobs: list[dict[str, Any]] = [
        {
            "statements": [view],
            "select": text.format(file=secret),
            "reads": [["one"], ["iceberg", "silver", "t"]],
        }
        for text in texts
    ]
    jobs.append({"statements": [hidden], "select": "SELECT * FROM seen", "reads": [["seen"]]})
    found = asked_of_spark("spark_jobs", jobs, spark_environment)
    return dict(zip([*texts, hidden], found, strict=True))


@pytest.mark.timeout(400)
def test_what_the_guard_has_not_seen_is_refused(answers: dict[str, Any]) -> None:
    read = {text: answers[text] for text in REFUSED if not isinstance(answers[text], str)}
    assert not read
    assert all(answers[text].startswith("The SQL is ambiguous") for text in REFUSED)
    hidden = next(answer for text, answer in answers.items() if text.startswith("CREATE"))
    assert hidden.startswith("The SQL is ambiguous: Spark would read other")


def test_what_the_guard_has_seen_is_read(answers: dict[str, Any]) -> None:
    assert {text: answers[text] for text in ALLOWED} == dict(
        zip(ALLOWED, ([[1]], [[1]], [[2]], [[1]], [[1]], [[1]]), strict=True)
    )
