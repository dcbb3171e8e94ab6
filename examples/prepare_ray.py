"""Prepare documents on a Ray cluster; `curatord curate FOLDER -o OUTPUT` goes on with what it writes.

python examples/prepare_ray.py documents.jsonl FOLDER
"""

from __future__ import annotations

import sys

import ray
import ray.data

import curatord


def main(source: str, folder: str) -> None:
    """The rows of JSON lines, each with its place, through `curatord.prepare`, to Parquet."""
    ray.data.DataContext.get_current().execution_options.preserve_order = True  # the order of the input decides
    documents = ray.data.read_json(source)
    places = ray.data.range(documents.count()).rename_columns({"id": "position"})
    # As plain blocks of Arrow; `curatord.prepare` is imported where it runs.
    prepared = documents.zip(places).map_batches(curatord.prepare, batch_format="pyarrow", batch_size=256)
    prepared.write_parquet(folder)


if __name__ == "__main__":
    main(*sys.argv[1:3])
