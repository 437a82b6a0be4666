"""`python -m app.lakehouse.bronze.footer_worker`: parses footers of Parquet files, in a sandbox.

Other programs wrote them. A hostile footer may take over its parser, which has no files, no network
and no keys.
"""

from base64 import b64decode

import pyarrow as pa
import pyarrow.parquet as pq

from app.processes.worker_main import Emit, Handlers, Message, serve


def _rows(message: Message, _: Emit) -> Message:
    """Return the rows of a file by its last bytes, or None if they are not a valid footer."""
    try:
        return {"rows": pq.read_metadata(pa.BufferReader(b64decode(message["end"]))).num_rows}
    except (pa.ArrowException, OSError, ValueError):  # A message may quote bytes that are not text.
        return {"rows": None}


def open_worker(_: Message) -> Handlers:
    return {"rows": _rows}


if __name__ == "__main__":
    serve(open_worker)
