-- The day's customers with their dense number: the rank of customer_id, from 0.
-- Inputs: everybody (customer_id and left_out of people). Grain: one row a customer, sorted by customer_id.
SELECT CAST(row_number() OVER (ORDER BY customer_id) - 1 AS BIGINT) AS customer_no, customer_id
FROM everybody
WHERE left_out IS NULL
ORDER BY customer_id
