{# For builds of this project by hand. Asgard writes its merges itself. #}
{% macro generate_schema_name(custom_schema_name, node) %}
  {{ return((custom_schema_name or target.schema) | trim) }}
{% endmacro %}

{# dbt puts quotes around a column name, but does not double the quotes inside it. #}
{% macro asgard_quoted(name) %}
  {{ return(adapter.quote(name | replace('"', '""'))) }}
{% endmacro %}

{% macro get_quoted_csv(column_names) %}
  {% set quoted = [] %}
  {% for name in column_names %}
    {% do quoted.append(asgard_quoted(name)) %}
  {% endfor %}
  {{ return(quoted | join(', ')) }}
{% endmacro %}

{# dbt-trino splits its list of names at commas, but a name may also contain commas. #}
{% macro trino__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) %}
  {% set names = [] %}
  {% for column in dest_columns %}
    {% do names.append(asgard_quoted(column.name)) %}
  {% endfor %}
  merge into {{ target }} as DBT_INTERNAL_DEST
  using {{ source }} as DBT_INTERNAL_SOURCE
  on {% for key in unique_key -%}
    DBT_INTERNAL_SOURCE.{{ key }} = DBT_INTERNAL_DEST.{{ key }}{{ ' and ' if not loop.last }}
  {%- endfor %}
  when matched then update set {% for name in names -%}
    {{ name }} = DBT_INTERNAL_SOURCE.{{ name }}{{ ', ' if not loop.last }}
  {%- endfor %}
  when not matched then insert ({{ names | join(', ') }})
  values ({% for name in names -%}
    DBT_INTERNAL_SOURCE.{{ name }}{{ ', ' if not loop.last }}
  {%- endfor %})
{% endmacro %}
