-- What is decoded of the log: changes of the tables that are added to it; those of partitions as their table's.
CREATE PUBLICATION $publication WITH ($options);
