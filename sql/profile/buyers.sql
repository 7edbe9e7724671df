-- What the lifecycle needs of every customer with a counted order: order days of counted orders that are not fully refunded.
-- Inputs: order_stats, customers. Grain: one row a buyer.
SELECT c.customer_id, o.order_days, o.first_order_on, o.last_order_on, o.live_spend AS spend, o.order_days = 0 AS all_refunded
FROM order_stats o
JOIN customers c ON o.customer_no = c.customer_no
WHERE o.number_of_orders > 0
