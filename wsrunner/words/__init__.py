"""What all messages of the wire are made of, and those of rooms. Pure."""
