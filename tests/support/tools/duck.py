"""DuckDB over an archive's folder, as docs/FORMAT.md shows: what it counts, and every record in hex."""

import sys

import duckdb

kind, root = sys.argv[1:3]
db = duckdb.connect()
if kind == "guess":
    # Hive partitioning with nothing else said but that sequence numbers are text.
    rows = db.execute(
        f"""SELECT dt::VARCHAR, hour::VARCHAR, count(*), count(DISTINCT sequence_number)
            FROM read_json('{root}/dt=*/hour=*/*.ndjson.gz', hive_partitioning = true)
            GROUP BY ALL ORDER BY ALL"""
    ).fetchall()
elif kind == "envelope":
    end = sys.argv[3]
    rows = db.execute(
        f"""SELECT sequence_number, lower(hex(coalesce(encode(data), from_base64(data_base64))))
            FROM read_json('{root}/dt=*/hour=*/*.ndjson.{end}',
                format = 'newline_delimited', hive_partitioning = true, maximum_object_size = 134217728,
                columns = {{sequence_number: 'VARCHAR', sub_sequence_number: 'UBIGINT',
                    approximate_arrival_timestamp: 'TIMESTAMP', partition_key: 'VARCHAR',
                    explicit_hash_key: 'VARCHAR', outside_hash_range: 'BOOLEAN',
                    data: 'VARCHAR', data_base64: 'VARCHAR'}})
            WHERE dt IS NOT NULL AND hour IS NOT NULL"""
    ).fetchall()
else:
    rows = db.execute(
        f"""SELECT "of", n FROM read_json('{root}/dt=*/hour=*/*.payload.gz', hive_partitioning = true,
                format = 'newline_delimited', columns = {{"of": 'VARCHAR', n: 'BIGINT'}}) ORDER BY n"""
    ).fetchall()
for row in rows:
    print(*row)
