//! What lies on this disk: sealed items, outbox, local copies, checkpoints, the lock; and the one function that writes a file durably.
