"""Keeps the parameters of lambdas apart from other names.

DuckDB takes `t.a` for a column of a table `t` even where `t` is a parameter, and templates have
lambdas of their own.
"""

from collections.abc import Iterator

from sqlglot import exp

from app.sql.duckdb.templates import PARAMETERS, unsupported
from app.sql.tables import fold, unused_prefix

_PREFIX = "asgard_element_"
_NAMES_SOMETHING = (exp.Column, exp.ColumnDef, exp.Alias, exp.TableAlias, exp.Table, exp.DataType)


def keep_parameters(tree: exp.Expr) -> None:
    """Give each parameter a name of its own, in place.

    Raises:
        NotSupported: the SQL has a name that templates use for their own parameters.
    """
    names = {fold(identifier.name) for identifier in tree.find_all(exp.Identifier)}
    if reserved := names & PARAMETERS:
        raise unsupported(f"The name {min(reserved)}")
    prefix = unused_prefix(tree, _PREFIX)
    # The inner ones first: an inner parameter hides an outer one of its name.
    for number, lambda_ in enumerate(reversed(list(tree.find_all(exp.Lambda)))):
        for place, parameter in enumerate(lambda_.expressions):
            new = f"{prefix}{number}_{place}"
            for use in list(_uses(lambda_, fold(parameter.name))):
                use.set("this", new)
            parameter.set("this", new)


def _uses(lambda_: exp.Expr, name: str) -> Iterator[exp.Identifier]:
    for node in lambda_.this.walk():
        if not isinstance(node, exp.Identifier) or fold(node.name) != name:
            continue
        is_field = isinstance(node.parent, exp.Dot) and node.arg_key == "expression"
        if not is_field and not isinstance(node.parent, _NAMES_SOMETHING):
            yield node
