"""The recorder: runs a model once under a dispatch mode and writes every aten call to a trace."""

from .neurons import NeuronRule
from .record import record
from .recorder import Recorder, RecordingWarning

__all__ = ["NeuronRule", "Recorder", "RecordingWarning", "record"]
