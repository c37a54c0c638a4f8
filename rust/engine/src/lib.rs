//! Sockets, timers and queues.
