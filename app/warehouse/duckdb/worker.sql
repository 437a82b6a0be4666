{# A worker's database is empty and belongs to one model: nothing is listed, renamed or backed up.
   What is built here is published to the lake afterwards. #}

{% materialization table, adapter='duckdb' %}
  {% call statement('main', auto_begin=False) %}
    create or replace table {{ this }} as
    {{ compiled_code }}
  {% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}

{% materialization incremental, adapter='duckdb' %}
  {% call statement('main', auto_begin=False) %}
    create or replace table {{ this }} as
    {{ compiled_code }}
  {% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}

{% materialization view, adapter='duckdb' %}
  {% call statement('main', auto_begin=False) %}
    create or replace view {{ this }} as
    {{ compiled_code }}
  {% endcall %}
  {{ return({'relations': []}) }}
{% endmaterialization %}

{% macro duckdb__create_schema(relation) %}{% endmacro %}

{% macro duckdb__list_schemas(database) %}
  {{ return([['main']]) }}
{% endmacro %}
