-- How many customers went from which stage to which, those who stayed among them.
-- Inputs: lifecycle_today (the rows of stage.sql), previous_lifecycle (the latest published day before).
-- Grain: one row a pair of stages that occurs. As of: the day of lifecycle_today.
-- A customer whom the day before does not know comes from `new` (on a first day that is everybody); one whom this day
-- no longer knows (deleted, merged, excluded) goes to `gone`.
SELECT
    arrow_cast(from_stage, 'Utf8View') AS from_stage,
    arrow_cast(to_stage, 'Utf8View') AS to_stage,
    count(*) AS customers
FROM (
    SELECT
        coalesce(l.stage, 'new') AS from_stage,
        coalesce(t.stage, 'gone') AS to_stage
    FROM lifecycle_today AS t
    FULL OUTER JOIN previous_lifecycle AS l ON l.customer_id = t.customer_id
)
GROUP BY from_stage, to_stage
ORDER BY from_stage, to_stage
