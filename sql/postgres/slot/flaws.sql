-- Expressions for what keeps changes out of the log's messages, in words: of the publication p, and of its table r. What not
-- all versions have is read through JSON.

-- name: publication
array_remove(ARRAY[
    CASE WHEN p.puballtables THEN 'the publication is for all tables' END,
    CASE WHEN NOT p.pubinsert THEN 'the publication leaves out INSERT' END,
    CASE WHEN NOT p.pubupdate THEN 'the publication leaves out UPDATE' END,
    CASE WHEN NOT p.pubdelete THEN 'the publication leaves out DELETE' END,
    CASE WHEN NOT p.pubtruncate THEN 'the publication leaves out TRUNCATE' END,
    CASE WHEN p.pubviaroot THEN 'the publication has publish_via_partition_root' END,
    CASE WHEN to_json(p)->>'pubgencols' <> 's' THEN 'the publication leaves out generated columns' END
], NULL)

-- name: table
array_remove(ARRAY[
    CASE WHEN to_json(r)->>'prqual' IS NOT NULL THEN 'the publication has a row filter for it' END,
    CASE WHEN to_json(r)->>'prattrs' IS NOT NULL THEN 'the publication has a column list for it' END
], NULL)
