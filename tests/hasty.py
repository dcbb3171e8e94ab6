"""`curatord`, with clients that look for new partitions every second, and not every half minute.

python -m tests.hasty prepare ...
"""

from __future__ import annotations

from consumers.kafka import membership
from daemon.cli import main

if __name__ == "__main__":
    membership.METADATA_AGE_MS = 1000
    main()
