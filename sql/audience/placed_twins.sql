-- The records of the members who are the same person as another. Inputs: door_records, twins (place, person). Grain: one row a member.
SELECT t.place, d.*, d.is_deleted AS is_gone FROM twins t JOIN door_records d ON d.person = t.person WHERE d.is_main
