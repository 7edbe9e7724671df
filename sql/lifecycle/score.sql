-- The numbers behind every stage: a buyer's history in order days, and what the model makes of it.
-- Inputs: profile (customer_id), buyers. Grain: one row a customer; the numbers are null without a counted order.
-- As of $as_of: buyers holds only what was ordered and refunded before its cutoff.
-- Parameters: $as_of; the model's $r, $alpha (days), $a, $b; $mean_order_value of all buyers' order days;
-- $gg_p, $gg_q, $gg_v of Gamma-Gamma, null without a fit.
WITH history AS (
    SELECT
        p.customer_id,
        b.customer_id IS NOT NULL AS has_order,
        coalesce(b.order_days, 0) AS order_days,
        b.first_order_on,
        b.last_order_on,
        CAST(coalesce(b.spend, 0) AS DECIMAL(28, 2)) AS spend,
        CASE WHEN b.order_days > 0 THEN CAST(b.order_days - 1 AS DOUBLE) END AS frequency,
        CAST(CAST(b.last_order_on AS INT) - CAST(b.first_order_on AS INT) AS DOUBLE) AS recency_days,
        CAST(greatest(CAST($as_of AS INT) - CAST(b.first_order_on AS INT), 0) AS DOUBLE) AS age_days,
        CAST(CASE
            WHEN b.order_days > 0 THEN greatest(CAST($as_of AS INT) - CAST(b.last_order_on AS INT), 0)
        END AS BIGINT) AS days_since_last_order
    -- The narrow side first: it is the one that is held in memory.
    FROM buyers AS b
    RIGHT JOIN profile AS p ON b.customer_id = p.customer_id
),
predicted AS (
    SELECT
        *,
        mbg_p_order($r, $alpha, $a, $b, frequency, recency_days, age_days, 90.0) AS p_order_90d,
        mbg_p_order($r, $alpha, $a, $b, frequency, recency_days, recency_days, 90.0) AS p_order_90d_at_last_order,
        mbg_p_order($r, $alpha, $a, $b, 0.0, 0.0, 0.0, 90.0) AS p_order_90d_new_buyer,
        mbg_p_order($r, $alpha, $a, $b, frequency, recency_days, age_days, 365.0) AS p_order_365d,
        mbg_p_alive($r, $alpha, $a, $b, frequency, recency_days, age_days) AS p_alive,
        mbg_silence($r, $alpha, $a, $b, frequency, recency_days, age_days) AS silence_probability,
        mbg_expected_orders($r, $alpha, $a, $b, frequency, recency_days, age_days, 365.0) AS expected_orders,
        mbg_next_order_days($r, $alpha, $a, $b, frequency, recency_days, age_days) AS next_order_days,
        CASE
            WHEN order_days = 0 THEN NULL
            -- Without a fit: shrunk towards the mean order day of the shop, as if each buyer had two such days more.
            WHEN $gg_p IS NULL
                THEN (CAST(spend AS DOUBLE) + 2.0 * $mean_order_value) / (CAST(order_days AS DOUBLE) + 2.0)
            ELSE gg_order_value(
                $gg_p, $gg_q, $gg_v, CAST(order_days AS DOUBLE), CAST(spend AS DOUBLE) / CAST(order_days AS DOUBLE)
            )
        END AS order_value
    FROM history
)
SELECT
    *,
    CASE WHEN order_days > 0 THEN coalesce(p_order_90d / nullif(p_order_90d_at_last_order, 0.0), 0.0) END AS vitality,
    CASE WHEN order_days > 0 THEN coalesce(p_order_90d / nullif(p_order_90d_new_buyer, 0.0), 0.0) END AS relative_chance,
    expected_orders * order_value AS predicted_value
FROM predicted
