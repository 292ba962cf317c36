"""`routemq doctor`: what is wrong with a set-up, and what mends it."""

from routemq_ops.doctor.examination import examine
from routemq_ops.doctor.finding import Finding, Level

__all__ = ["Finding", "Level", "examine"]
