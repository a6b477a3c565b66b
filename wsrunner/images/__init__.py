"""Images of languages and services: pulled, or built here from Debian packages."""
