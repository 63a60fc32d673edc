-- What everybody may see of an endpoint's URL, and what a search for a text reads: the URL itself is sealed where there
-- is a key, as "sealed_url" of the settings.  NULL: not worked out yet, which is done when the outbox is opened.

ALTER TABLE cdc_outbox.endpoint ADD COLUMN public_url text;

DROP TRIGGER reset_endpoint_limit ON cdc_outbox.endpoint;
CREATE TRIGGER reset_endpoint_limit AFTER UPDATE OF enabled, removed_at, settings ON cdc_outbox.endpoint
FOR EACH ROW WHEN (
    NEW.removed_at IS NOT NULL OR (NEW.enabled AND NOT OLD.enabled)
    OR COALESCE(NEW.settings ->> 'sealed_url', NEW.settings ->> 'url')
       IS DISTINCT FROM COALESCE(OLD.settings ->> 'sealed_url', OLD.settings ->> 'url')
)
EXECUTE FUNCTION cdc_outbox.reset_endpoint_limit();

-- The outline, whose readers may not see secrets, has it in place of the URL; of mail, no address.
CREATE OR REPLACE VIEW cdc_outbox.endpoint_outline AS
SELECT number, id, events, sources, enabled, disabled_reason, created_at, removed_at, delivery_order, condition,
       failing_since,
       jsonb_strip_nulls(jsonb_build_object(
           'url', CASE WHEN public_url LIKE 'mailto:%' THEN 'mailto:' ELSE COALESCE(public_url, '') END,
           'description', settings -> 'description',
           'rate', settings -> 'rate',
           'disable_after', settings -> 'disable_after'
       )) AS settings
FROM cdc_outbox.endpoint;

-- How far rows are in the form of today, by part: the form, a colon, and the last row, or "done".
CREATE TABLE cdc_outbox.resealing (part text PRIMARY KEY, place text NOT NULL);
