"""What a rule is."""

from __future__ import annotations


class Operand: ...


class Call: ...


class OpRule: ...
