{# What dbt-duckdb's own macros cannot do on an Iceberg catalog: rename tables, drop them with
   CASCADE, or hold DuckDB's own types. A table that is built by hand is missing for a moment. #}

{% macro generate_schema_name(custom_schema_name, node) %}
  {{ return((custom_schema_name or target.schema) | trim) }}
{% endmacro %}

{# The parts between quotes are the names of a struct's fields. #}
{% macro asgard_held_as(type) %}
  {% set parts = [] %}
  {% for part in type.split('"') %}
    {% set held = namespace(type=part) %}
    {% set unquoted = loop.index is odd %}
    {% for pattern, name in [
      ('U?HUGEINT|UBIGINT|UINTEGER', 'BIGINT'),
      ('U?TINYINT|U?SMALLINT', 'INTEGER'),
      ('TIMESTAMP_(S|MS|NS)', 'TIMESTAMP'),
      ('TIME_NS', 'TIME'),
      ('ENUM\\([^)]*\\)|UUID|BIT|JSON', 'VARCHAR'),
    ] if unquoted %}
      {% set held.type = modules.re.sub('(?<!\\w)(' ~ pattern ~ ')(?!\\w)', name, held.type) %}
    {% endfor %}
    {% do parts.append(held.type) %}
  {% endfor %}
  {{ return(parts | join('"')) }}
{% endmacro %}

{% macro asgard_columns(sql) %}
  {% set columns = [] %}
  {% if execute %}
    {% for row in run_query('describe ' ~ sql).rows %}
      {% set name = adapter.quote(row[0] | replace('"', '""')) %}
      {% do columns.append('cast(' ~ name ~ ' as ' ~ asgard_held_as(row[1]) ~ ') as ' ~ name) %}
    {% endfor %}
  {% endif %}
  {{ return(columns | join(', ')) }}
{% endmacro %}

{# The columns of the delta; those that the table lacks are added to it. dbt puts quotes around a
   name and doubles none inside it, so each name is handed on with its quotes doubled. #}
{% macro asgard_matched_columns(delta, existing) %}
  {% set known = [] %}
  {% for column in adapter.get_columns_in_relation(existing) %}
    {% do known.append(column.name | lower) %}
  {% endfor %}
  {% set columns = [] %}
  {% for column in adapter.get_columns_in_relation(delta) %}
    {% set name = column.name | replace('"', '""') %}
    {% if column.name | lower not in known %}
      {% do run_query(
        'alter table ' ~ existing ~ ' add column ' ~ adapter.quote(name) ~ ' ' ~ column.data_type
      ) %}
    {% endif %}
    {% do columns.append(api.Column.create(name, column.dtype)) %}
  {% endfor %}
  {{ return(columns) }}
{% endmacro %}

{% macro duckdb__create_table_as(
    temporary, relation, compiled_code, language='sql', partitioned_by=none, sorted_by=none) %}
  create {{ 'temporary ' if temporary }}table
    {{ relation.include(database=(not temporary), schema=(not temporary)) }} as
  select {{ asgard_columns(compiled_code) }} from (
    {{ compiled_code }}
  ) as query
{% endmacro %}

{% macro duckdb__drop_relation(relation) %}
  {% call statement('drop_relation', auto_begin=False) %}
    drop {{ relation.type }} if exists {{ relation }}
  {% endcall %}
{% endmacro %}

{% materialization table, adapter='duckdb' %}
  {% set existing = load_cached_relation(this) %}
  {% if existing is not none %}
    {% do adapter.drop_relation(existing) %}
  {% endif %}
  {% call statement('main', auto_begin=False) %}
    {{ create_table_as(False, this, compiled_code) }}
  {% endcall %}
  {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}

{% materialization incremental, adapter='duckdb' %}
  {% set existing = load_cached_relation(this) %}
  {% if existing is not none and should_full_refresh() %}
    {% do adapter.drop_relation(existing) %}
    {% set existing = none %}
  {% endif %}
  {% if existing is none %}
    {% call statement('main', auto_begin=False) %}
      {{ create_table_as(False, this, compiled_code) }}
    {% endcall %}
  {% else %}
    {% set delta = api.Relation.create(identifier=this.identifier ~ '__delta') %}
    {% do run_query('drop table if exists ' ~ delta) %}
    {% do run_query(create_table_as(True, delta, compiled_code)) %}
    {% set columns = asgard_matched_columns(delta, existing) %}
    {% set strategy = adapter.get_incremental_strategy_macro(
      context, config.require('incremental_strategy')) %}
    {% set work = strategy({
      'target_relation': existing,
      'temp_relation': delta,
      'unique_key': config.get('unique_key') or [],
      'dest_columns': columns,
      'incremental_predicates': none,
    }) %}
    {% call statement('main', auto_begin=True) %}
      {{ work }}
    {% endcall %}
    {% do adapter.commit() %}
    {% do run_query('drop table ' ~ delta) %}
  {% endif %}
  {{ return({'relations': [this.incorporate(type='table')]}) }}
{% endmaterialization %}
