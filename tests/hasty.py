"""`curatord` that looks for new partitions, and for what retention cut, every second, and not every half minute or so.

python -m tests.hasty prepare ...
"""

from __future__ import annotations

from consumers.kafka import membership
from daemon import service
from daemon.cli import main

if __name__ == "__main__":
    membership.METADATA_AGE_MS = 1000
    service.HEADROOM_INTERVAL_S = 1.0
    main()
