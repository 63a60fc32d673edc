-- What the slot has up to a place in the log, without taking it: the server keeps the result aside, whatever its size.
DECLARE cdc_peek NO SCROLL CURSOR WITH HOLD FOR
SELECT data FROM pg_logical_slot_peek_binary_changes(
    $slot, $upto, NULL, 'proto_version', '1', 'publication_names', $publication
)
