-- Buyers by history: those who are alike in all that a fit looks at, counted.
-- Inputs: buyers. Grain: one row a frequency, recency and age, in days. As of $as_of.
SELECT order_days - 1 AS frequency, last_order_on - first_order_on AS recency, $as_of - first_order_on AS age, count(*) AS buyers
FROM (
    SELECT
        order_days,
        CAST(first_order_on AS INT) AS first_order_on,
        CAST(last_order_on AS INT) AS last_order_on
    FROM buyers
    WHERE order_days > 0
)
GROUP BY order_days, first_order_on, last_order_on
