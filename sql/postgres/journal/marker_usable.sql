-- Whether the marker is there and this role may read and change it.
SELECT coalesce(
    has_table_privilege(to_regclass('cdc.cdc_marker'), 'SELECT')
    AND has_table_privilege(to_regclass('cdc.cdc_marker'), 'UPDATE'),
    false
)
