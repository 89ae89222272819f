"""The fuzz targets by name: pure functions that take octets and raise only if there is a bug."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fuzz.addresses import addresses
from fuzz.connection import connection, connection_words
from fuzz.mime import mime
from fuzz.parameters import parameters
from fuzz.proxy import proxy
from fuzz.readers import readers
from fuzz.sasl import sasl, sasl_words

TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    target.__name__: target
    for target in (addresses, parameters, readers, proxy, connection, connection_words, sasl, sasl_words, mime)
}
