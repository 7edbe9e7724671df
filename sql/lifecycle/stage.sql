-- Every customer's one stage, the first rule that matches, with its reason and every number behind it.
-- Inputs: lifecycle_flags (flags.sql). Grain: one row a customer, by customer_id. As of $as_of.
-- Parameters: the cuts of value_cuts.sql and spend_cut.sql, the thresholds, $model, $confidence.
-- stage_since is the first published day of an unbroken row of days in this stage; a customer's first day is such a
-- day. previous_stage is the stage on the latest published day before, stage_before the last one that differed.
WITH ruled AS (
    SELECT
        *,
        $value_cut * value_cut_factor AS value_threshold,
        CASE
            WHEN order_days = 0 THEN 'prospect'
            WHEN churned_by IS NOT NULL AND churn_withheld_by IS NULL THEN 'churned'
            WHEN lapsed THEN 'dormant'
            WHEN loyal THEN 'loyal'
            WHEN predicted_value >= $value_cut * value_cut_factor THEN 'high_potential'
            ELSE 'nurture_needed'
        END AS stage
    FROM lifecycle_flags
),
reasoned AS (
    SELECT
        *,
        CASE
            WHEN stage = 'prospect' AND has_order THEN 'all_refunded'
            WHEN stage = 'prospect' THEN 'no_order'
            WHEN stage = 'churned' THEN churned_by
            WHEN stage = 'dormant' THEN coalesce(churn_withheld_by, lapsed_by)
            WHEN stage = 'loyal' THEN 'frequent_and_active'
            WHEN stage = 'high_potential' THEN 'value_above_cut'
            ELSE 'value_below_cut'
        END AS reason,
        coalesce(
            stage = 'dormant' AND (predicted_value >= $top_value_cut OR CAST(spend AS DOUBLE) >= $top_spend_cut),
            false
        ) AS cant_lose,
        -- Cut off, not rounded: 0.499 must not read as 0.50 < 0.50.
        CAST(CAST(floor(vitality * 100.0 + 1e-9) / 100.0 AS DECIMAL(38, 2)) AS VARCHAR) AS vitality_text,
        CAST(CAST(vitality_threshold AS DECIMAL(38, 2)) AS VARCHAR) AS vitality_threshold_text,
        CAST(CAST(floor(relative_chance * 100.0 + 1e-9) / 100.0 AS DECIMAL(38, 2)) AS VARCHAR) AS relative_text,
        CAST(CAST(relative_chance_threshold AS DECIMAL(38, 2)) AS VARCHAR) AS relative_threshold_text,
        CAST(CAST(floor(predicted_value * 100.0 + 1e-9) / 100.0 AS DECIMAL(38, 2)) AS VARCHAR) AS value_text,
        CAST(CAST(value_threshold AS DECIMAL(38, 2)) AS VARCHAR) AS value_threshold_text
    FROM ruled
),
told AS (
    SELECT
        *,
        CASE
            WHEN reason = 'no_order' THEN 'no counted order yet'
            WHEN reason = 'all_refunded' THEN 'every order was refunded in full'
            ELSE concat(
                CAST(order_days AS VARCHAR),
                CASE WHEN order_days = 1 THEN ' order, ' ELSE ' orders, ' END,
                CASE
                    WHEN days_since_last_order = 0 THEN 'the last one today'
                    WHEN days_since_last_order = 1 THEN 'silent 1 day'
                    ELSE concat('silent ', CAST(days_since_last_order AS VARCHAR), ' days')
                END,
                ': the chance of an order in 90 days is ',
                CAST(CAST(round(p_order_90d * 100.0) AS BIGINT) AS VARCHAR),
                '%',
                CASE
                    WHEN days_since_last_order > 0 THEN concat(
                        ', down from ',
                        CAST(CAST(round(p_order_90d_at_last_order * 100.0) AS BIGINT) AS VARCHAR),
                        '% at the last order'
                    )
                    ELSE ''
                END,
                CASE
                    WHEN lapsed_by = 'vitality_low'
                        THEN concat(' (vitality ', vitality_text, ' < ', vitality_threshold_text, ')')
                    WHEN lapsed_by = 'silence_long'
                        THEN concat(' (lapsed from ', CAST($lapsed_silence_days AS VARCHAR), ' days of silence on)')
                    WHEN lapsed_by = 'silence_improbable' THEN concat(
                        ' (an active customer is silent this long in fewer than ',
                        CAST(CAST($lapsed_silence_probability * 100.0 AS DECIMAL(38, 1)) AS VARCHAR),
                        '% of cases)'
                    )
                    ELSE concat(' (vitality ', vitality_text, ' ≥ ', vitality_threshold_text, ')')
                END,
                CASE
                    WHEN reason = 'chance_below_new_buyer' THEN concat(
                        '; ', relative_text, ' of the chance of a new buyer < ', relative_threshold_text
                    )
                    WHEN reason = 'silence_very_long'
                        THEN concat('; churned from ', CAST($churned_silence_days AS VARCHAR), ' days of silence on')
                    WHEN reason = 'churn_needs_longer_silence' THEN concat(
                        '; not called churned before ', CAST($churned_silence_least AS VARCHAR), ' days of silence'
                    )
                    WHEN reason = 'churn_label_failed_audit'
                        THEN '; not called churned while too many who were have ordered again'
                    WHEN reason = 'frequent_and_active' THEN concat(
                        '; at least ', CAST($loyal_order_days AS VARCHAR), ' orders and a chance of ',
                        CAST(CAST(floor(p_order_365d * 100.0 + 1e-9) AS BIGINT) AS VARCHAR), '% ≥ ',
                        CAST(CAST(round(loyal_threshold * 100.0) AS BIGINT) AS VARCHAR), '% of one in 365 days'
                    )
                    WHEN reason = 'value_above_cut' THEN concat(
                        '; predicted value ', value_text, ' in 365 days ≥ ', value_threshold_text
                    )
                    WHEN reason = 'value_below_cut' THEN concat(
                        '; predicted value ', value_text, ' in 365 days < ', value_threshold_text
                    )
                    ELSE ''
                END
            )
        END AS sentence
    FROM reasoned
)
SELECT
    arrow_cast(customer_id, 'Utf8View') AS customer_id,
    arrow_cast(stage, 'Utf8View') AS stage,
    arrow_cast(previous_stage, 'Utf8View') AS previous_stage,
    CASE WHEN stage = previous_stage THEN coalesce(previous_stage_since, $as_of) ELSE $as_of END AS stage_since,
    arrow_cast(reason, 'Utf8View') AS reason,
    named_struct(
        'sentence', arrow_cast(sentence, 'Utf8View'),
        'order_days', order_days,
        'frequency', CAST(frequency AS BIGINT),
        'recency_days', CAST(recency_days AS BIGINT),
        'age_days', CAST(age_days AS BIGINT),
        'days_since_last_order', days_since_last_order,
        'p_order_90d', p_order_90d,
        'p_order_90d_at_last_order', p_order_90d_at_last_order,
        'p_order_90d_new_buyer', p_order_90d_new_buyer,
        'vitality', vitality,
        'vitality_threshold', vitality_threshold,
        'relative_chance', relative_chance,
        'relative_chance_threshold', relative_chance_threshold,
        'silence_probability', silence_probability,
        'silence_probability_threshold', CAST($lapsed_silence_probability AS DOUBLE),
        'lapsed_silence_days', CAST($lapsed_silence_days AS BIGINT),
        'churned_silence_days', CAST($churned_silence_days AS BIGINT),
        'churned_silence_least', CAST($churned_silence_least AS BIGINT),
        'p_order_365d', p_order_365d,
        'loyal_order_days', CAST($loyal_order_days AS BIGINT),
        'loyal_threshold', loyal_threshold,
        'expected_orders', expected_orders,
        'order_value', order_value,
        'predicted_value', predicted_value,
        'value_threshold', value_threshold,
        'top_value_cut', CAST($top_value_cut AS DOUBLE),
        'top_spend_cut', CAST($top_spend_cut AS DOUBLE),
        'dropout_identified', CAST($dropout_identified AS BOOLEAN),
        'churn_label_suspended', CAST($churn_label_suspended AS BOOLEAN)
    ) AS explanation,
    order_days,
    days_since_last_order,
    p_order_90d,
    p_order_365d,
    vitality,
    -- Where nothing was fitted, or the fit does not tell dropout from silence, the number would only repeat the prior.
    CASE WHEN $dropout_identified THEN p_alive END AS p_alive,
    expected_orders,
    predicted_value,
    cant_lose,
    arrow_cast($confidence, 'Utf8View') AS confidence,
    arrow_cast($model, 'Utf8View') AS model,
    arrow_cast(CASE WHEN stage = previous_stage THEN previous_stage_before ELSE previous_stage END, 'Utf8View')
        AS stage_before,
    1.0 - p_order_365d AS churn_risk,
    arrow_cast(
        CASE
            WHEN order_days = 0 THEN NULL
            WHEN predicted_value >= $high_spend_from THEN 'high'
            WHEN predicted_value >= $medium_spend_from THEN 'medium'
            ELSE 'low'
        END,
        'Utf8View'
    ) AS predicted_spend_tier,
    -- A century ahead is no date to plan for.
    CASE
        WHEN order_days > 0 AND NOT lapsed AND next_order_days <= 36500.0 THEN CAST(
            CAST($as_of AS INT) + CAST(ceil(least(next_order_days, 36500.0)) AS INT) AS DATE
        )
    END AS predicted_next_order_date,
    first_order_on,
    last_order_on,
    spend
FROM told
ORDER BY customer_id
