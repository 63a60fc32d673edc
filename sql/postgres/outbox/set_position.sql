-- Where a source stands.  Changes no row where fenced and another position than the expected one is stored.
INSERT INTO cdc_outbox.source_position AS stored (source, position)
SELECT %(source)s, %(position)s
WHERE NOT %(fenced)s
    OR %(expected)s::text IS NULL
    OR EXISTS (SELECT FROM cdc_outbox.source_position WHERE source = %(source)s)
ON CONFLICT (source) DO UPDATE SET position = excluded.position
WHERE NOT %(fenced)s OR stored.position = %(expected)s
