-- What became of the buyers of an earlier day, beside what the model says of them as of that day: by chance of an order in
-- 90 days, in tenths.
-- Inputs: lifecycle_flags (flags.sql) of the earlier day, buyers of that day with the columns later_… (histories.sql).
-- Grain: one row a tenth that occurs. As of: 90 days after the day of lifecycle_flags.
-- Sums of floats depend on the order of rows; of whole millionths and billionths they don't.
SELECT
    tenth,
    count(*) AS buyers,
    sum(CAST(round(p_order_90d * 1e9) AS BIGINT)) AS expected_buyers,
    count(*) FILTER (WHERE later_order_days > 0) AS actual_buyers,
    sum(CAST(round(expected * 1e6) AS BIGINT)) AS expected_orders,
    CAST(sum(later_order_days) AS BIGINT) AS actual_orders,
    CAST(sum(CAST(expected * order_value AS DECIMAL(38, 2))) AS DECIMAL(38, 2)) AS expected_spend,
    CAST(sum(later_spend) AS DECIMAL(38, 2)) AS actual_spend,
    count(*) FILTER (WHERE churned) AS churned,
    count(*) FILTER (WHERE churned AND later_order_days > 0) AS churned_who_ordered
FROM (
    SELECT
        least(CAST(floor(f.p_order_90d * 10.0) AS BIGINT), 9) AS tenth,
        f.p_order_90d,
        mbg_expected_orders($r, $alpha, $a, $b, f.frequency, f.recency_days, f.age_days, 90.0) AS expected,
        f.order_value,
        f.churned_by IS NOT NULL AND f.days_since_last_order >= $churned_silence_least AS churned,
        b.later_order_days,
        b.later_spend
    FROM lifecycle_flags AS f
    JOIN buyers AS b ON b.customer_id = f.customer_id
)
GROUP BY tenth
ORDER BY tenth
