-- Whom an event's customer_id or anonymous_id stands for; -1 for people who are left out.
-- Inputs: customers, left_out, roots. Grain: one row an id.
SELECT customer_id AS id, CAST(customer_no AS INT) AS customer_no FROM customers
UNION ALL
SELECT customer_id, CAST(-1 AS INT) FROM left_out
UNION ALL
SELECT r.id, CAST(coalesce(c.customer_no, -1) AS INT)
FROM roots r
LEFT JOIN customers c ON c.customer_id = r.root
WHERE c.customer_no IS NOT NULL OR r.root IN (SELECT customer_id FROM left_out)
