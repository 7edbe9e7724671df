-- Buyers as a day saw them, with the columns of buyers, and what they did after it.
-- Inputs: order_days. Grain: one row a customer with an order day up to $seen_until; the columns later_… hold what came
-- after that day, up to $told_until. As of $seen_until: an order day after it is in no other column.
SELECT
    customer_id,
    count(*) FILTER (WHERE ordered_on <= $seen_until) AS order_days,
    -- Days that cost nothing count for frequency, not for the value of an order.
    count(*) FILTER (WHERE ordered_on <= $seen_until AND spend > 0) AS paid_days,
    min(ordered_on) AS first_order_on,
    max(CASE WHEN ordered_on <= $seen_until THEN ordered_on END) AS last_order_on,
    CAST(coalesce(sum(CASE WHEN ordered_on <= $seen_until THEN spend END), 0) AS DECIMAL(28, 2)) AS spend,
    false AS all_refunded,
    count(*) FILTER (WHERE ordered_on > $seen_until) AS later_order_days,
    CAST(coalesce(sum(CASE WHEN ordered_on > $seen_until THEN spend END), 0) AS DECIMAL(28, 2)) AS later_spend
FROM order_days
WHERE ordered_on <= $told_until
GROUP BY customer_id
HAVING min(ordered_on) <= $seen_until
