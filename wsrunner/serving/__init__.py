"""What answers on the port: sockets and HTTP, access, the pages, the operators' feed."""
