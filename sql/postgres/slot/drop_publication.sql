-- The last thing: its comment is the memory of the installation.
DROP PUBLICATION $publication;
