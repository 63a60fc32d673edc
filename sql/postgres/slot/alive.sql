-- Asked often: the transactions that can be seen now, and a text that changes whenever the publication is altered.
SELECT
    pg_current_snapshot()::text,
    coalesce(
        (
            SELECT concat_ws(' ', p.oid, p.xmin, md5(string_agg(concat_ws('.', r.oid, r.xmin), ' ' ORDER BY r.oid)))
            FROM pg_publication p LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid
            WHERE p.pubname = %(publication)s GROUP BY p.oid, p.xmin
        ),
        ''
    )
