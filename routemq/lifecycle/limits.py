"""After what a message is handled with care, and when it is given up; the scripts are told."""

STRIKES_TO_RUN_ALONE = 2
"""A message that has ended so many processes is run with nothing beside it."""

STRIKES_TO_DIE = 3
"""A message that has ended so many processes is dead."""

MOST_DELIVERIES = 20
"""A message that was handed to workers so often is dead, whatever the cause."""
