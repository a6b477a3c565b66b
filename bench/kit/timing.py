"""When something began to answer, and when it was over."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Timing:
    """When a run's first line came and when its end was known; seconds from the request."""

    first_s: float
    end_s: float
