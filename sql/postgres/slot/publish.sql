ALTER PUBLICATION $publication ADD TABLE $table;
