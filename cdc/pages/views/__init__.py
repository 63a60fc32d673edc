"""One module for each section of the page: it calls the use cases, and fills a template."""
