"""Writes table.parquet: a small table in three groups of rows. Run with pyarrow installed: python table.py"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

table = pa.table(
    {
        "text": ["好 text", "b", "c", "d", None],
        "stars": pa.array([5, 4, 3, 2, None], pa.int32()),
        "vector": [[1.5, 2.0], [0.0], [1.0], [2.0], []],
    }
)
pq.write_table(table, Path(__file__).with_name("table.parquet"), row_group_size=2, compression="snappy")
