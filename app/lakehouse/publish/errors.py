"""Translates errors of the catalog, the object store and the local disk. For workers."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from app.disk import disk_full
from app.errors import EngineUnreachable
from app.lakehouse.locations import ForeignFile, of_foreign_file


@contextmanager
def lake_errors() -> Iterator[None]:
    """Translate errors of the catalog and the object store into `AsgardError`s."""
    from pyiceberg.exceptions import ServerError, ServiceUnavailableError
    from requests import RequestException

    try:
        yield
    except (RequestException, ServerError, ServiceUnavailableError) as error:
        raise EngineUnreachable("The catalog could not be reached.") from error
    except ForeignFile as error:
        raise of_foreign_file(error) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise disk_full() from error
        if error.filename is not None:
            raise
        raise EngineUnreachable(f"The object store could not be reached: {error}") from error
