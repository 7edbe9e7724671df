-- Order columns of the profile, and what the lifecycle needs of a buyer.
-- Inputs: orders. Grain: one row a customer with an order of any status. The grouping by local day comes first: those
-- rows are the daily facts, and days can be merged.
WITH daily AS (
  SELECT customer_no, ordered_on,
         count(*) FILTER (WHERE is_counted) AS orders,
         sum(net_amount) FILTER (WHERE is_counted) AS spent,
         max(net_amount) FILTER (WHERE is_counted) AS highest,
         min(ordered_at) FILTER (WHERE is_counted) AS first_at,
         max(ordered_at) FILTER (WHERE is_counted) AS last_at,
         sum(discount) FILTER (WHERE is_counted) AS discount,
         sum(refunded) FILTER (WHERE is_counted) AS refunded,
         sum(cardinality(coupon_codes)) FILTER (WHERE is_counted) AS coupons,
         count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
         count(*) FILTER (WHERE is_counted AND NOT fully_refunded /*renewals*/) AS live_orders,
         sum(net_amount) FILTER (WHERE is_counted AND NOT fully_refunded /*renewals*/) AS live_spent
  FROM orders
  GROUP BY customer_no, ordered_on
)
SELECT customer_no,
       CAST(sum(orders) AS BIGINT) AS number_of_orders,
       CAST(coalesce(sum(spent), 0) AS DECIMAL(28, 2)) AS amount_spent,
       CAST(max(highest) AS DECIMAL(18, 2)) AS highest_order_amount,
       min(first_at) AS first_order_date, max(last_at) AS last_order_date,
       max(ordered_on) FILTER (WHERE orders > 0) AS last_ordered_on,
       CAST(coalesce(sum(discount), 0) AS DECIMAL(28, 2)) AS discount_amount,
       CAST(coalesce(sum(refunded), 0) AS DECIMAL(28, 2)) AS refunded_amount,
       CAST(coalesce(sum(coupons), 0) AS BIGINT) AS coupons_used,
       CAST(sum(cancelled) AS BIGINT) AS cancelled_orders,
       count(*) FILTER (WHERE live_orders > 0) AS order_days,
       min(ordered_on) FILTER (WHERE live_orders > 0) AS first_order_on,
       max(ordered_on) FILTER (WHERE live_orders > 0) AS last_order_on,
       CAST(coalesce(sum(live_spent), 0) AS DECIMAL(28, 2)) AS live_spend
FROM daily
GROUP BY customer_no
