-- What the classifier has to know of the shop as a whole.
-- Inputs: buyers. Grain: one row. As of: the day that buyers describes.
SELECT
    count(*) AS buyers,
    count(*) FILTER (WHERE order_days > 1) AS repeat_buyers,
    coalesce(sum(order_days), 0) AS order_days,
    -- An exact decimal sum first: the mean must not depend on the order in which rows arrive.
    CAST(sum(spend) AS DOUBLE) / CAST(sum(order_days) AS DOUBLE) AS mean_order_value,
    min(first_order_on) AS first_order_on,
    max(last_order_on) AS last_order_on
FROM buyers
WHERE order_days > 0
