-- Before a page of a table (page.sql), which is read along the index of the primary key, whatever the planner thinks of a
-- table that nobody analyzed: a plan that sorts makes images of all rows behind the page, and throws most of them away.
BEGIN READ ONLY;
SET LOCAL enable_sort = off;
SET LOCAL enable_bitmapscan = off
