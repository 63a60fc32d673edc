-- Journals what foreign keys are about to do to other tables' rows, since no trigger of those tables runs for it.
-- Locking reads must see rows that are newer than the snapshot, as the cascade does: MariaDB would refuse (error 1020).
CREATE DEFINER = CURRENT_USER TRIGGER $trigger BEFORE $event ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
$gaps  END;
  IF $condition THEN
$begin$blocks$end
  END IF;
END
