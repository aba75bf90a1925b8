"""How long tests wait for what must come. It guards against hanging alone: no test says how fast anything is."""

from __future__ import annotations

PATIENCE = 120.0  # seconds
