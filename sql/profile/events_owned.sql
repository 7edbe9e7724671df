-- Every event of the day's customers with the customer's number, all its columns.
-- Inputs: landed_events, who. Grain: one row an event; those of visitors who were never linked and of people who are left
-- out are not in it. As of: events from the cutoff on are not in the input.
SELECT w.customer_no, e.*
FROM (SELECT id, customer_no FROM who WHERE customer_no >= 0) w
JOIN landed_events e ON w.id = coalesce(e.customer_id, e.anonymous_id)
