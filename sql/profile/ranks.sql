-- Ranks among customers with an order: rank() - 1 rows are strictly below.
-- Inputs: order_stats. Grain: one row a customer with a counted order; $buyers is their number.
SELECT customer_no,
       CASE WHEN $buyers = 1 THEN 0.0 ELSE 100.0 * CAST(spent_rank - 1 AS DOUBLE) / CAST($buyers - 1 AS DOUBLE) END AS amount_spent_percentile,
       1 + least(4, CASE WHEN $buyers = 1 THEN 0 ELSE 5 * (recent_rank - 1) / ($buyers - 1) END) AS rfm_recency,
       1 + least(4, CASE WHEN $buyers = 1 THEN 0 ELSE 5 * (orders_rank - 1) / ($buyers - 1) END) AS rfm_frequency,
       1 + least(4, CASE WHEN $buyers = 1 THEN 0 ELSE 5 * (spent_rank - 1) / ($buyers - 1) END) AS rfm_monetary
FROM (
  SELECT customer_no,
         CAST(rank() OVER (ORDER BY last_ordered_on) AS BIGINT) AS recent_rank,
         CAST(rank() OVER (ORDER BY number_of_orders) AS BIGINT) AS orders_rank,
         CAST(rank() OVER (ORDER BY amount_spent) AS BIGINT) AS spent_rank
  FROM order_stats
  WHERE number_of_orders > 0
)
