"""Maps each function of Trino to DuckDB, which also lists what SQL for DuckDB may call.

A function in none of these tables has no equivalent that gives the same values: the embedded engine
answers that it is not supported. `tests/unit/sql/test_sql_semantics.py` runs each on a real DuckDB
and compares with the values that Trino's documentation gives.

Known differences remain. Decimals divide and average as doubles, then rounded to the decimal
that Trino gives, and windows average them as doubles.

NaN equals itself and is greater than all numbers, in comparisons, `max` and `greatest`: a check in
each comparison would keep DuckDB from planning joins. `reverse` keeps a letter and its accents
together, `json_format` keeps the order of keys, and `$` in a pattern is only the end of the text.
"""

import re

from app.sql.duckdb.zones import INSTANT

# Same name, same arguments, same values.
SAME = frozenset(
    """
    abs acos array_agg asin atan atan2 bool_and bool_or cbrt chr coalesce concat_ws
    corr cos cosh count covar_pop covar_samp cume_dist day degrees dense_rank exp first_value
    flatten from_base64 grouping hour kurtosis lag last_value lead length lower lpad ltrim
    map map_entries map_from_entries map_keys map_values max md5 min minute month now nth_value
    ntile nullif percent_rank pi pow power quarter radians random rank regr_avgx regr_avgy
    regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy replace reverse
    row row_number rpad rtrim second sin sinh skewness starts_with stddev stddev_pop
    stddev_samp strpos substr substring tan tanh to_base64 translate try uuid var_pop
    var_samp variance year
    """.split()  # noqa: SIM905
)

RENAMED = {
    "any_value": "any_value",
    "arbitrary": "any_value",
    "bitwise_and_agg": "bit_and",
    "bitwise_or_agg": "bit_or",
    "bitwise_xor": "xor",
    "bitwise_xor_agg": "bit_xor",
    "char_length": "length",
    "character_length": "length",
    "codepoint": "unicode",
    "day_of_month": "day",
    "day_of_week": "isodow",
    "day_of_year": "dayofyear",
    "dow": "isodow",
    "doy": "dayofyear",
    "every": "bool_and",
    "filter": "list_filter",
    "from_hex": "unhex",
    "from_utf8": "decode",
    "geometric_mean": "geomean",
    "is_finite": "isfinite",
    "is_infinite": "isinf",
    "is_nan": "isnan",
    "last_day_of_month": "last_day",
    "rand": "random",
    "regexp_like": "regexp_matches",
    "split": "str_split",
    "to_hex": "hex",
    "to_unixtime": "epoch",
    "to_utf8": "encode",
    "transform": "list_transform",
    "week": "weekofyear",
    "week_of_year": "weekofyear",
    "year_of_week": "isoyear",
    "yow": "isoyear",
}

_IS_FIRST = "list_position({0}, asgard_x) = asgard_i"
"""In a lambda of an element and its place: unlike DuckDB, Trino keeps order and NULL in sets."""

_DOCUMENT = "CASE WHEN json_valid(CAST(_0 AS VARCHAR)) THEN _0 END"
"""In each call, because DuckDB evaluates a call that it finds twice before it looks at a CASE."""
_MAY_LOSE_DIGITS = (
    "regexp_matches(CAST(_0 AS VARCHAR), '[0-9.]{17}') AND NOT regexp_matches(CAST(_0 AS VARCHAR), "
    f"replace(replace(json_extract_string({_DOCUMENT}, _1), '.', '[.]'), '+', '[+]') "
    "|| '([^0-9]|$)')"
)
"""DuckDB reads a number with a fraction as a double. It is then spelled `1.1` for `1.10`."""
_UNLIKE_TRINO = (
    r"typeof(_0) SIMILAR TO '(DOUBLE|FLOAT|TIME.*|JSON)\[\]' THEN "
    "CAST(CAST('The embedded SQL engine does not join arrays of doubles, times or JSON: ' "
    "|| CAST(_0 AS VARCHAR) AS BIGINT) AS VARCHAR)"
)
_ASCII = (
    "CASE WHEN strlen(_0) = length(_0) AND strlen(_1) = length(_1) THEN {0}(_0, _1) "
    "WHEN _0 IS NOT NULL AND _1 IS NOT NULL "
    "THEN CAST('On this engine, {0}_distance compares only ASCII texts: ' || _0 || ', ' || _1 "
    "AS BIGINT) END"
)
"""DuckDB counts bytes, Trino characters."""
_FIRST_INDEX = "CAST('Array indices start at 1, not at ' || CAST(_1 AS VARCHAR) AS BIGINT)"

# By the number of arguments, which are _0, _1, …
TEMPLATES: dict[str, tuple[str, ...]] = {
    "all_match": (
        "CASE WHEN list_contains(list_transform(_0, _1), false) THEN false "
        "WHEN list_count(list_transform(_0, _1)) = len(_0) THEN true END",
    ),
    "any_match": (
        "CASE WHEN list_contains(list_transform(_0, _1), true) THEN true "
        "WHEN list_count(list_transform(_0, _1)) = len(_0) THEN false END",
    ),
    "none_match": (
        "CASE WHEN list_contains(list_transform(_0, _1), true) THEN false "
        "WHEN list_count(list_transform(_0, _1)) = len(_0) THEN true END",
    ),
    "approx_percentile": ("approx_quantile(_0, _1)",),
    "array_distinct": (f"list_filter(_0, LAMBDA asgard_x, asgard_i : {_IS_FIRST.format('_0')})",),
    "array_except": (
        "CASE WHEN _1 IS NOT NULL THEN list_filter(_0, LAMBDA asgard_x, asgard_i : "
        f"{_IS_FIRST.format('_0')} AND list_position(_1, asgard_x) IS NULL) END",
    ),
    "array_intersect": (
        "CASE WHEN _1 IS NOT NULL THEN list_filter(_0, LAMBDA asgard_x, asgard_i : "
        f"{_IS_FIRST.format('_0')} AND list_position(_1, asgard_x) IS NOT NULL) END",
    ),
    "array_join": (
        f"CASE WHEN {_UNLIKE_TRINO} ELSE array_to_string(_0, _1) END",
        f"CASE WHEN {_UNLIKE_TRINO} ELSE array_to_string(list_transform(_0, "
        "LAMBDA asgard_x : coalesce(CAST(asgard_x AS VARCHAR), _2)), _1) END",
    ),
    "array_max": ("CASE WHEN list_count(_0) = len(_0) THEN list_max(_0) END",),
    "array_min": ("CASE WHEN list_count(_0) = len(_0) THEN list_min(_0) END",),
    "array_position": (
        "CASE WHEN _0 IS NOT NULL AND _1 IS NOT NULL "
        "THEN coalesce(CAST(list_position(_0, _1) AS BIGINT), 0) END",
    ),
    "array_remove": (
        "CASE WHEN _1 IS NOT NULL "
        "THEN list_filter(_0, LAMBDA asgard_x : asgard_x IS DISTINCT FROM _1) END",
    ),
    "array_sort": ("list_sort(_0, 'ASC', 'NULLS LAST')",),
    "array_sum": ("coalesce(list_sum(_0), 0)",),
    "array_union": (
        "CASE WHEN _0 IS NOT NULL AND _1 IS NOT NULL THEN list_filter(list_concat(_0, _1), "
        f"LAMBDA asgard_x, asgard_i : {_IS_FIRST.format('list_concat(_0, _1)')}) END",
    ),
    "arrays_overlap": (
        "CASE WHEN list_has_any(_0, _1) THEN true WHEN len(_0) = 0 OR len(_1) = 0 OR "
        "list_count(_0) = len(_0) AND list_count(_1) = len(_1) THEN false END",
    ),
    "at_timezone": ("timezone(_1, CAST(_0 AS TIMESTAMPTZ))",),
    # The median has the type that an average has in Trino.
    "avg": (
        "CASE WHEN typeof(list_median([any_value(_0)])) LIKE 'DECIMAL%' "
        "THEN cast_to_type(avg(_0) * 1.000000000000001e0, list_median([any_value(_0)])) "
        "ELSE cast_to_type(avg(_0), list_median([any_value(_0)])) END",
    ),
    "bitwise_and": ("_0 & _1",),
    # Trino drops the bits that the type of the value does not hold.
    "bitwise_left_shift": (
        "cast_to_type(CASE WHEN _1 < 0 THEN CAST('A shift must not be negative: ' || _1 AS BIGINT) "
        "WHEN typeof(_0) = 'BIGINT' "
        "THEN CASE WHEN _1 < 64 THEN CAST(_0 AS BIGINT) << _1 ELSE 0 END "
        "WHEN _1 >= 32 THEN 0 ELSE ((CAST(_0 AS BIGINT) * (CAST(1 AS BIGINT) << least(_1, 31)) "
        "+ 2147483648) & 4294967295) - 2147483648 END, _0)",
    ),
    "bitwise_not": ("~_0",),
    "bitwise_or": ("_0 | _1",),
    "bitwise_right_shift_arithmetic": ("CAST(_0 AS BIGINT) >> least(_1, 63)",),
    "cardinality": ("len(_0)",),
    "contains": (
        "CASE WHEN list_contains(_0, _1) THEN true "
        "WHEN _1 IS NOT NULL AND list_count(_0) = len(_0) THEN false END",
    ),
    "count_if": ("count(CASE WHEN _0 THEN 1 END)",),
    "date": ("CAST(_0 AS DATE)",),
    "date_trunc": ("cast_to_type(date_trunc(_0, _1), asgard_witness(_1))",),
    "e": ("exp(1.0)",),
    "element_at": (
        "_0[CASE WHEN typeof(_0) LIKE '%[]' AND CAST(_1 AS VARCHAR) = '0' "
        f"THEN cast_to_type({_FIRST_INDEX}, _1) ELSE _1 END]",
    ),
    "from_iso8601_date": ("CAST(_0 AS DATE)",),
    "from_iso8601_timestamp": (INSTANT.format("_0"),),
    "from_unixtime": ("to_timestamp(CAST(_0 AS DOUBLE))",),
    "hamming_distance": (_ASCII.format("hamming"),),
    "histogram": ("histogram(_0)",),
    "infinity": ("CAST('inf' AS DOUBLE)",),
    "levenshtein_distance": (_ASCII.format("levenshtein"),),
    "ln": (
        "CASE WHEN _0 > 0 OR _0 IS NULL THEN ln(_0) "
        "WHEN _0 = 0 THEN CAST('-inf' AS DOUBLE) ELSE CAST('nan' AS DOUBLE) END",
    ),
    "json_array_length": (
        "CASE WHEN json_valid(CAST(_0 AS VARCHAR)) THEN CASE WHEN json_type(_0) = 'ARRAY' "
        "THEN CAST(json_array_length(_0) AS BIGINT) END END",
    ),
    "json_extract": ("CASE WHEN json_valid(CAST(_0 AS VARCHAR)) THEN json_extract(_0, _1) END",),
    "json_extract_scalar": (
        f"CASE WHEN json_type({_DOCUMENT}, _1) IN ('OBJECT', 'ARRAY') THEN NULL "
        f"WHEN json_type({_DOCUMENT}, _1) = 'DOUBLE' AND {_MAY_LOSE_DIGITS} "
        "THEN CAST(CAST('The embedded SQL engine may not keep all digits of a number in this "
        "JSON: ' || CAST(_0 AS VARCHAR) AS BIGINT) AS VARCHAR) "
        f"ELSE json_extract_string({_DOCUMENT}, _1) END",
    ),
    "json_format": ("CAST(_0 AS VARCHAR)",),
    "json_parse": ("CAST(_0 AS JSON)",),
    "log": (
        "CASE WHEN _1 > 0 OR _1 IS NULL THEN log(_0, _1) "
        "WHEN _1 = 0 THEN CAST('-inf' AS DOUBLE) ELSE CAST('nan' AS DOUBLE) END",
    ),
    "log10": (
        "CASE WHEN _0 > 0 OR _0 IS NULL THEN log10(_0) "
        "WHEN _0 = 0 THEN CAST('-inf' AS DOUBLE) ELSE CAST('nan' AS DOUBLE) END",
    ),
    "log2": (
        "CASE WHEN _0 > 0 OR _0 IS NULL THEN log2(_0) "
        "WHEN _0 = 0 THEN CAST('-inf' AS DOUBLE) ELSE CAST('nan' AS DOUBLE) END",
    ),
    "map_agg": (
        "map(array_agg(_0) FILTER (WHERE _0 IS NOT NULL), "
        "array_agg(_1) FILTER (WHERE _0 IS NOT NULL))",
    ),
    "map_concat": ("map_concat(_0, _1)", "map_concat(_0, _1, _2)"),
    "max_by": (
        "arg_max_null(_0, _1)",
        "arg_max_nulls_last(_0, _1, _2) FILTER(WHERE _1 IS NOT NULL)",
    ),
    "md5": ("unhex(md5(_0))",),
    "millisecond": ("millisecond(_0) % 1000",),
    "min_by": (
        "arg_min_null(_0, _1)",
        "arg_min_nulls_last(_0, _1, _2) FILTER(WHERE _1 IS NOT NULL)",
    ),
    "nan": ("CAST('nan' AS DOUBLE)",),
    "normalize": ("nfc_normalize(_0)",),
    "random": ("random()", "CAST(floor(random() * _0) AS BIGINT)"),
    "regexp_count": ("CAST(len(regexp_extract_all(_0, _1)) AS BIGINT)",),
    "regexp_extract": (
        "CASE WHEN regexp_matches(_0, _1) THEN regexp_extract(_0, _1) END",
        "CASE WHEN regexp_matches(_0, _1) THEN regexp_extract(_0, _1, _2) END",
    ),
    "regexp_extract_all": ("regexp_extract_all(_0, _1)", "regexp_extract_all(_0, _1, _2)"),
    "reduce": ("list_transform([list_reduce(_0, _2, _1)], _3)[1]",),
    "repeat": ("repeat([_0], _1)",),
    "replace": (
        "replace(_0, _1, '')",
        "CASE WHEN _1 = '' THEN CASE WHEN _0 = '' THEN _2 "
        "ELSE _2 || array_to_string(str_split(_0, ''), _2) || _2 END "
        "ELSE replace(_0, _1, _2) END",
    ),
    "sequence": (
        "generate_series(_0, _1, CASE WHEN _0 <= _1 THEN 1 ELSE -1 END)",
        "cast_to_type(generate_series(_0, _1, _2), [asgard_witness(_0)])",
    ),
    "round": ("round(_0)", "cast_to_type(round(_0, _1), _0 + _0)"),
    # DuckDB's skewness is that of a sample.
    "skewness": ("skewness(_0) * (count(_0) - 2) / sqrt(count(_0) * (count(_0) - 1))",),
    "sign": ("cast_to_type(sign(_0), trunc(_0))",),
    "sqrt": ("CASE WHEN _0 < 0 THEN CAST('nan' AS DOUBLE) ELSE sqrt(_0) END",),
    "sha1": ("unhex(sha1(_0))",),
    "sha256": ("unhex(sha256(_0))",),
    "slice": (
        f"CASE WHEN _1 = 0 THEN [_0[{_FIRST_INDEX}]] "
        "WHEN _2 < 0 THEN [_0[CAST('A length must not be negative: ' || _2 AS BIGINT)]] "
        "WHEN _1 > 0 THEN list_slice(_0, _1, _1 + _2 - 1) "
        "WHEN _1 < -len(_0) OR _2 = 0 THEN list_slice(_0, 2, 1) "
        "ELSE list_slice(_0, len(_0) + _1 + 1, len(_0) + _1 + _2) END",
    ),
    "split_part": (
        "CASE WHEN _2 < 1 THEN error('The index of split_part must be greater than zero') "
        "ELSE str_split(_0, _1)[_2] END",
    ),
    "to_base": ("lower(to_base(_0, _1))",),
    "truncate": ("trunc(_0)", "trunc(_0, _1)"),
    # Unlike DuckDB, Trino keeps the sharp s.
    "upper": ("replace(upper(replace(_0, 'ß', chr(57344))), chr(57344), 'ß')",),
    "with_timezone": ("timezone(_1, CAST(_0 AS TIMESTAMP))",),
}
# concat_ws of two arguments joins an array in Trino; DuckDB would print the array.
TEMPLATES["concat_ws"] = tuple(
    f"concat_ws({', '.join(f'_{number}' for number in range(count))})" for count in range(3, 33)
)

DATE_UNITS = {
    "millisecond": "to_milliseconds(CAST(_1 AS BIGINT))",
    "second": "to_seconds(CAST(_1 AS BIGINT))",
    "minute": "to_minutes(CAST(_1 AS BIGINT))",
    "hour": "to_hours(CAST(_1 AS BIGINT))",
    "day": "to_days(CAST(_1 AS INTEGER))",
    "week": "to_days(CAST(_1 AS INTEGER) * 7)",
    "month": "to_months(CAST(_1 AS INTEGER))",
    "quarter": "to_months(CAST(_1 AS INTEGER) * 3)",
    "year": "to_years(CAST(_1 AS INTEGER))",
}
EXTRACT_FIELDS = {
    "day_of_month": "day",
    "day_of_week": "isodow",
    "day_of_year": "doy",
    "dow": "isodow",
    "year_of_week": "isoyear",
    "yow": "isoyear",
}
MYSQL_DATE_FORMAT = {
    **{letter: f"%{letter}" for letter in "aAbdfHIjmpSYy%"},
    "c": "%-m",
    "e": "%-d",
    "h": "%I",
    "i": "%M",
    "k": "%-H",
    "l": "%-I",
    "M": "%B",
    "r": "%I:%M:%S %p",
    "s": "%S",
    "T": "%H:%M:%S",
    "v": "%V",
    "W": "%A",
    "x": "%G",
}
JODA_DATE_FORMAT = {
    "yyyy": "%Y",
    "yy": "%y",
    "MMMM": "%B",
    "MMM": "%b",
    "MM": "%m",
    "M": "%-m",
    "dd": "%d",
    "d": "%-d",
    "HH": "%H",
    "H": "%-H",
    "hh": "%I",
    "mm": "%M",
    "ss": "%S",
    "SSS": "%g",
    "EEEE": "%A",
    "EEE": "%a",
    "a": "%p",
}

_CALLED = re.compile(r"\b([a-z_0-9]+)\(")
_BUILT = """
any_value approx_count_distinct array case cast cast_to_type ceil date_sub encode error exists
extract floor greatest if json_array_length json_extract json_keys least left list list_contains
list_value listagg regexp_extract regexp_replace regexp_split_to_array strftime string_agg
strptime struct sum to_json today trim try_cast typeof unhex unnest
"""

DUCKDB: frozenset[str] = frozenset(
    {
        *SAME,
        *RENAMED.values(),
        *_BUILT.split(),
        *(
            name
            for template in (
                *(t for some in TEMPLATES.values() for t in some),
                *DATE_UNITS.values(),
            )
            for name in _CALLED.findall(template)
            if name != "asgard_witness"
        ),
    }
)
