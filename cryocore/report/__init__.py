"""All rounds of a run in one table and one page, and the page of an audit."""
