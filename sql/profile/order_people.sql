-- The customers that orders name, with the first order of any status and the last one that was not cancelled.
-- Inputs: orders_owned. Grain: one row a customer.
SELECT customer_id, min(ordered_at) AS first_order_at,
       max(CASE WHEN status <> 'cancelled' THEN ordered_at END) AS last_open_order_at
FROM orders_owned
GROUP BY customer_id
