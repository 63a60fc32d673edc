-- What is decoded of the log: changes of the tables that are added to it, and of their partitions.
CREATE PUBLICATION $publication WITH ($options);
