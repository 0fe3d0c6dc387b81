"""What a trace is and what a config is: the contract between recorder and analyzers."""

from .errors import (
    ConfigError,
    OpjouleError,
    RecordError,
    RuleError,
    TraceError,
    TraceVersionError,
)
from .manifest import (
    MANIFEST_NAME,
    UNFINISHED_NAME,
    Device,
    Environment,
    Failure,
    Fingerprint,
    Hidden,
    Manifest,
    Part,
    Revision,
)
from .spikes import VALUE_BITS, SpikeClass
from .tables import (
    FORMAT_VERSION,
    OLDEST_FORMAT_VERSION,
    PART_TABLES,
    STAGES,
    STATIC_TABLES,
    TABLES,
    TILE_WIDTHS,
    VALUE_KINDS,
    described,
)

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "OLDEST_FORMAT_VERSION",
    "PART_TABLES",
    "STAGES",
    "STATIC_TABLES",
    "TABLES",
    "TILE_WIDTHS",
    "UNFINISHED_NAME",
    "VALUE_BITS",
    "VALUE_KINDS",
    "ConfigError",
    "Device",
    "Environment",
    "Failure",
    "Fingerprint",
    "Hidden",
    "Manifest",
    "OpjouleError",
    "Part",
    "RecordError",
    "Revision",
    "RuleError",
    "SpikeClass",
    "TraceError",
    "TraceVersionError",
    "described",
]
