-- By primary key under READ COMMITTED: locks these rows and no gap, so that triggers never wait.
DELETE FROM `cdc_journal` WHERE `id` IN %s
