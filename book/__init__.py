"""The companion as a book: what `make site` builds. No part of the package."""
