-- The order days that the lifecycle counts: counted orders that are not fully refunded, merged by local day.
-- Inputs: orders (clean, one row an order). Grain: one row a customer and local day. As of: the day that orders describes.
-- Parameters: $ignore_renewals, whether orders of subscriptions are left out.
SELECT customer_id, ordered_on, CAST(sum(net_amount) AS DECIMAL(28, 2)) AS spend
FROM orders
WHERE is_counted AND NOT fully_refunded AND NOT ($ignore_renewals AND coalesce(recurring, false))
GROUP BY customer_id, ordered_on
