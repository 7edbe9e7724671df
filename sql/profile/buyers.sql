-- What the lifecycle needs of every customer with a counted order: order days of counted orders that are not fully refunded.
-- Inputs: order_stats. Grain: one row a buyer.
SELECT customer_id, order_days, first_order_on, last_order_on, live_spend AS spend, order_days = 0 AS all_refunded
FROM order_stats
WHERE number_of_orders > 0
