"""Messages that a server sends when a run has ended, to whom its client named."""
