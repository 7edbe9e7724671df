-- The records of the members. Inputs: door_records, and the members behind `member_place`. Grain: one row a person who is a member.
SELECT *, is_deleted AS is_gone FROM (SELECT member_place(person) AS place, * FROM door_records WHERE is_main) WHERE place IS NOT NULL
