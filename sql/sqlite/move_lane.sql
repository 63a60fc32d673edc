-- Unfinished deliveries of a merged lane join the other one; ids keep their order.
UPDATE delivery SET lane = :into WHERE endpoint = :endpoint AND lane = :lane AND state < 2
