"""Texts that some program could read as its own language, for all tests of such programs."""

CANARY = "7006652"
"""What the templates below would show: the product of two numbers, which none of them holds."""
_TOLD = "1234 * 5678"

JINJA = (
    f"{{{{ {_TOLD} }}}}",
    f"{{%- endraw %}}{{{{ {_TOLD} }}}}{{% raw %}}",
    f"{{%+ endraw %}}{{{{ {_TOLD} }}}}{{% raw %}}",
    f"{{%endraw%}}{{{{ {_TOLD} }}}}{{%raw%}}",
    f"{{%  endraw  %}}{{{{- {_TOLD} -}}}}{{%  raw  %}}",
    f"{{%\nendraw\n%}}{{{{ {_TOLD} }}}}{{%\nraw\n%}}",
    f"{{{{{{ {_TOLD} }}}}}}",
    f"{{{{ '{{{{' }}}} {_TOLD} {{{{ '}}}}' }}}}",
    "{{ env_var('PATH') }}",
    "{{ run_query('SELECT 1234 * 5678') }}",
    "{% do run_query('CREATE TABLE memory.main.canary AS SELECT 1') %}",
    "{{ modules.datetime.datetime.now() }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{% set x = context.update({'compiled_code': 'SELECT 1'}) %}",
    "{# a comment #}",
    "{# an open one",
    "{% an open one",
    "{{ an open one",
    "a %} closed }} one #}",
    "{% macro m() %}{% endmacro %}",
    "{% docs d %}{% enddocs %}",
    "{{ config(materialized='view') }}",
    "{%- if execute -%}x{%- endif -%}",
)
YAML = (
    "&a [*a, !!python/object/apply:os.system ['touch canary']]",
    "a: {b: c}",
    "- one\n- two",
    "null",
    "1e3",
    "off",
    "'single",
    '"double',
    "# not a comment",
    "%TAG ! tag:x,2000:",
    "--- next",
    "{a: b}",
    "[a, b]",
    "| block",
    "!!binary AAAA",
)
SQL = (
    "it's",
    "'; DROP TABLE gold.x; --",
    '" AS x, 1 AS "y',
    '"";--',
    "/* open",
    "close */",
    "-- line",
    "$1 :name ? %s",
    "$$ body $$",
    "`back``tick`",
    "back\\slash",
    "a.b.c",
    "{d '2020-01-01'}",
    "x'41'",
)
FORMATS = (
    "{0}",
    "{}",
    "{{}}",
    "{name!r:>{width}}",
    "%s %d %(x)s %%",
    "${HOME} $(HOME)",
    "#{x}",
    "%n",
)
SHELL = (
    "$(touch canary)",
    "`touch canary`",
    "; touch canary",
    "| touch canary",
    "&& touch canary",
    "~",
)
HTML = (
    "<script>alert(1)</script>",
    "&lt;b&gt;",
    "<!-- x -->",
    "javascript:alert(1)",
    "<img src=x>",
)
WORDS = (
    "ünï",
    "列",
    "🦆",
    "a\u202eb",
    " spaced ",
    "UPPER",
    "0",
    "true",
    "select",
    "..",
    "a/b",
    "=1+1",
)

PAYLOADS = JINJA + YAML + SQL + FORMATS + SHELL + HTML + WORDS
