"""The pages "Dead letters" and "Routes" inside Flower."""

from routemq_flower.flower_health import serve_health
from routemq_flower.upstream.installation import install

__all__ = ["install", "serve_health"]
