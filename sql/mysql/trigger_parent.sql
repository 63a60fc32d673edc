-- Journals what foreign keys are about to do to other tables' rows, since no trigger of those tables runs for it.
CREATE DEFINER = CURRENT_USER TRIGGER $trigger BEFORE $event ON $table FOR EACH ROW
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION
  BEGIN
$gaps  END;
  IF $condition THEN
$blocks
  END IF;
END
