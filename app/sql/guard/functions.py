"""Lists the functions that clients' SQL may call, by dialect, in lower case.

Trino: https://trino.io/docs/current/functions/list.html without functions that show the session,
the cluster or a connector (`current_user`, `version`, table functions, …) and without machine
learning, sketches and geography. Spark: https://spark.apache.org/docs/latest/api/sql/ without
functions that reach outside of SQL (`java_method`, `reflect`, `input_file_name`, …). The third
list, for SQL in DuckDB, is in `app.sql.duckdb.functions`.
"""

_TRINO_AGGREGATE = """
any_value approx_distinct approx_most_frequent approx_percentile arbitrary array_agg avg
bitwise_and_agg bitwise_or_agg bitwise_xor_agg bool_and bool_or checksum corr count count_if
covar_pop covar_samp entropy every geometric_mean grouping histogram kurtosis listagg map_agg
map_union max max_by min min_by multimap_agg numeric_histogram reduce_agg regr_avgx regr_avgy
regr_count regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy skewness stddev stddev_pop
stddev_samp sum var_pop var_samp variance
"""
_TRINO_WINDOW = """
cume_dist dense_rank first_value lag last_value lead nth_value ntile percent_rank rank row_number
"""
_TRINO_CONDITIONAL = """
array case cast coalesce exists extract format greatest if least map nullif row try try_cast typeof
unnest
"""
_TRINO_MATH = """
abs acos asin atan atan2 beta_cdf bit_count bitwise_and bitwise_left_shift bitwise_not bitwise_or
bitwise_right_shift bitwise_right_shift_arithmetic bitwise_xor cbrt ceil ceiling cos cosh
cosine_distance cosine_similarity degrees dot_product e euclidean_distance exp floor from_base
infinity inverse_beta_cdf inverse_normal_cdf is_finite is_infinite is_nan ln log log10 log2 mod nan
normal_cdf pi pow power radians rand random round sign sin sinh sqrt t_cdf t_pdf tan tanh to_base
truncate uuid width_bucket wilson_interval_lower wilson_interval_upper
"""
_TRINO_STRING = """
char_length character_length chr codepoint concat concat_ws from_utf8 hamming_distance length
levenshtein_distance lower lpad ltrim luhn_check normalize position regexp_count regexp_extract
regexp_extract_all regexp_like regexp_position regexp_replace regexp_split replace reverse rpad
rtrim soundex split split_part split_to_map split_to_multimap starts_with strpos substr substring
to_utf8 translate trim upper url_decode url_encode url_extract_fragment url_extract_host
url_extract_parameter url_extract_path url_extract_port url_extract_protocol url_extract_query
word_stem
"""
_TRINO_BINARY = """
crc32 from_base32 from_base64 from_base64url from_big_endian_32 from_big_endian_64 from_hex
from_ieee754_32 from_ieee754_64 hmac_md5 hmac_sha1 hmac_sha256 hmac_sha512 md5 murmur3 sha1 sha256
sha512 spooky_hash_v2_32 spooky_hash_v2_64 to_base32 to_base64 to_base64url to_big_endian_32
to_big_endian_64 to_hex to_ieee754_32 to_ieee754_64 xxhash64
"""
_TRINO_TIME = """
at_timezone current_date current_time current_timestamp date date_add date_diff date_format
date_parse date_trunc day day_of_month day_of_week day_of_year dow doy format_datetime
from_iso8601_date from_iso8601_timestamp from_iso8601_timestamp_nanos from_unixtime
from_unixtime_nanos hour human_readable_seconds last_day_of_month localtime localtimestamp
millisecond minute month now parse_datetime parse_duration quarter second timezone_hour
timezone_minute to_iso8601 to_milliseconds to_unixtime week week_of_year with_timezone year
year_of_week yow
"""
_TRINO_JSON = """
is_json_scalar json_array_contains json_array_get json_array_length json_extract json_extract_scalar
json_format json_parse json_size
"""
_TRINO_COLLECTIONS = """
all_match any_match array_average array_distinct array_except array_first array_histogram
array_intersect array_join array_last array_max array_min array_position array_remove array_sort
array_sum array_union arrays_overlap cardinality combinations contains contains_sequence element_at
filter flatten map_concat map_entries map_filter map_from_entries map_keys map_values map_zip_with
multimap_from_entries ngrams none_match reduce repeat sequence shuffle slice transform
transform_keys transform_values trim_array zip zip_with
"""

TRINO: frozenset[str] = frozenset(
    " ".join(
        (
            _TRINO_AGGREGATE,
            _TRINO_WINDOW,
            _TRINO_CONDITIONAL,
            _TRINO_MATH,
            _TRINO_STRING,
            _TRINO_BINARY,
            _TRINO_TIME,
            _TRINO_JSON,
            _TRINO_COLLECTIONS,
        )
    ).split()
)

_SPARK_AGGREGATE = """
any any_value approx_count_distinct approx_percentile array_agg avg bit_and bit_or bit_xor
bitmap_and_agg bitmap_construct_agg bitmap_or_agg bool_and bool_or collect_list collect_set corr
count count_if count_min_sketch covar_pop covar_samp cube every first first_value grouping
grouping_id histogram_numeric kurtosis last last_value listagg max max_by mean median min min_by
mode percentile percentile_approx percentile_cont percentile_disc regr_avgx regr_avgy regr_count
regr_intercept regr_r2 regr_slope regr_sxx regr_sxy regr_syy rollup skewness some std stddev
stddev_pop stddev_samp string_agg sum try_avg try_sum var_pop var_samp variance
"""
_SPARK_WINDOW = """
cume_dist dense_rank lag lead nth_value ntile percent_rank rank row_number session_window window
window_time
"""
_SPARK_CONDITIONAL = """
assert_true bigint binary boolean case cast coalesce date decimal double equal_null exists float
greatest if ifnull int isnotnull isnull least nanvl nullif nullifzero nvl nvl2 raise_error smallint
string timestamp tinyint try_cast typeof when zeroifnull
"""
_SPARK_MATH = """
abs acos acosh asin asinh atan atan2 atanh bin bit_count bit_get bround cbrt ceil ceiling conv cos
cosh cot csc degrees div e exp expm1 factorial floor getbit hex hypot isnan ln log log10 log1p log2
mod negative pi pmod positive pow power radians rand randn random randstr rint round sec shiftleft
shiftright shiftrightunsigned sign signum sin sinh sqrt tan tanh try_add try_divide try_mod
try_multiply try_subtract unhex uniform width_bucket
"""
_SPARK_STRING = """
ascii base64 bit_length btrim char char_length character_length chr collate collation concat
concat_ws contains decode elt encode endswith find_in_set format_number format_string ilike initcap
instr is_valid_utf8 lcase left len length levenshtein like locate lower lpad ltrim luhn_check
make_valid_utf8 mask octet_length overlay parse_url position printf quote regexp regexp_count
regexp_extract regexp_extract_all regexp_instr regexp_like regexp_replace regexp_substr repeat
replace reverse right rlike rpad rtrim sentences soundex space split split_part startswith
str_to_map strpos substr substring substring_index to_binary to_char to_number to_varchar translate
trim try_parse_url try_to_binary try_to_number try_url_decode try_validate_utf8 ucase unbase64 upper
url_decode url_encode uuid validate_utf8
"""
_SPARK_HASH = """
aes_decrypt aes_encrypt bitmap_bit_position bitmap_bucket_number bitmap_count crc32 hash md5 sha
sha1 sha2 try_aes_decrypt xxhash64
"""
_SPARK_TIME = """
add_months convert_timezone curdate current_date current_time current_timestamp date_add date_diff
date_format date_from_unix_date date_part date_sub date_trunc dateadd datediff datepart day dayname
dayofmonth dayofweek dayofyear days extract from_unixtime from_utc_timestamp hour hours last_day
localtimestamp make_date make_dt_interval make_interval make_time make_timestamp make_timestamp_ltz
make_timestamp_ntz make_ym_interval minute month monthname months months_between next_day now
quarter second time_diff time_trunc timestamp_add timestamp_diff timestamp_micros timestamp_millis
timestamp_seconds timestampadd timestampdiff to_date to_time to_timestamp to_timestamp_ltz
to_timestamp_ntz to_unix_timestamp to_utc_timestamp trunc try_make_interval try_make_timestamp
try_make_timestamp_ltz try_make_timestamp_ntz try_to_date try_to_time try_to_timestamp unix_date
unix_micros unix_millis unix_seconds unix_timestamp weekday weekofyear year years
"""
_SPARK_DATA = """
from_csv from_json get_json_object is_variant_null json_array_length json_object_keys
json_tuple parse_json schema_of_csv schema_of_json schema_of_variant schema_of_variant_agg
to_csv to_json to_variant_object to_xml try_parse_json try_variant_get variant_get
"""
_SPARK_COLLECTIONS = """
aggregate array array_append array_compact array_contains array_distinct array_except array_insert
array_intersect array_join array_max array_min array_position array_prepend array_remove
array_repeat array_size array_sort array_union arrays_overlap arrays_zip cardinality element_at
filter flatten forall get map map_concat map_contains_key map_entries map_filter map_from_arrays
map_from_entries map_keys map_values map_zip_with named_struct reduce sequence shuffle size slice
sort_array struct transform transform_keys transform_values try_element_at zip_with
"""
_SPARK_ROWS = "explode explode_outer inline inline_outer posexplode posexplode_outer stack"
_SPARK_MISCELLANEOUS = "monotonically_increasing_id spark_partition_id"

SPARK: frozenset[str] = frozenset(
    " ".join(
        (
            _SPARK_AGGREGATE,
            _SPARK_WINDOW,
            _SPARK_CONDITIONAL,
            _SPARK_MATH,
            _SPARK_STRING,
            _SPARK_HASH,
            _SPARK_TIME,
            _SPARK_DATA,
            _SPARK_COLLECTIONS,
            _SPARK_ROWS,
            _SPARK_MISCELLANEOUS,
        )
    ).split()
)

SPARK_TABLE_FUNCTIONS: frozenset[str] = frozenset((*_SPARK_ROWS.split(), "json_tuple", "range"))
"""Functions that Spark SQL may have in FROM. Trino's SQL may have only UNNEST there."""
