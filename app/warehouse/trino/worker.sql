{# One statement for each materialization: readers of a table never miss it. What dbt-trino does by
   itself moves the old table away first, and asks Trino what there is, which we know.
   The gateway runs only the text of `app.warehouse.trino.publisher`, exact to the last space. #}

{% materialization table, adapter='trino' %}
  {% call statement('main', auto_begin=False) -%}
create or replace table {{ this }} as
{{ compiled_code | trim }}
  {%- endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}

{% materialization view, adapter='trino' %}
  {# Planned here; the view itself is made in the catalog, by one commit that names its run. #}
  {% call statement('main', auto_begin=False) -%}
explain (type validate)
{{ compiled_code | trim }}
  {%- endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}

{% macro trino__list_schemas(database) %}
  {{ return(graph.nodes.values() | map(attribute='schema') | batch(1) | list) }}
{% endmacro %}

{% macro trino__create_schema(relation) %}{% endmacro %}
