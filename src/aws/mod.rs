//! Adapters to AWS, and nothing else: each implements a port.
