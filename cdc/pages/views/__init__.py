"""One module for each section of the page: it asks the desk, and fills a template."""
