-- The rules that need nothing but the customer: lapsed, churned, loyal; each with the threshold that holds for them.
-- Inputs: lifecycle_scores (score.sql), previous_lifecycle (the latest published day before). Grain: one row a customer.
-- As of: the day of lifecycle_scores.
-- Who has no new order, refund or merge since the day before (the same order days, dates and spend) keeps to that
-- day's stage until past a dead band: `held` is that stage (churned, where only the label was withheld). Everybody else
-- meets the plain thresholds.
WITH known AS (
    SELECT
        s.*,
        l.stage AS previous_stage,
        l.stage_since AS previous_stage_since,
        l.stage_before AS previous_stage_before,
        CASE
            WHEN s.order_days = l.order_days
                AND s.spend = l.spend
                AND s.first_order_on = l.first_order_on
                AND s.last_order_on = l.last_order_on
                THEN CASE WHEN l.reason = 'churn_label_failed_audit' THEN 'churned' ELSE l.stage END
        END AS held
    FROM previous_lifecycle AS l
    RIGHT JOIN lifecycle_scores AS s ON l.customer_id = s.customer_id
),
bands AS (
    SELECT
        *,
        CASE
            WHEN held IN ('churned', 'dormant') THEN $lapsed_vitality_leave
            WHEN held IS NOT NULL THEN $lapsed_vitality_enter
            ELSE $lapsed_vitality
        END AS vitality_threshold,
        CASE
            WHEN held = 'churned' THEN $churned_relative_chance_leave
            WHEN held = 'dormant' THEN $churned_relative_chance_enter
            ELSE $churned_relative_chance
        END AS relative_chance_threshold,
        CASE
            WHEN held = 'loyal' THEN $loyal_p_order_365d_leave
            WHEN held IN ('high_potential', 'nurture_needed') THEN $loyal_p_order_365d_enter
            ELSE $loyal_p_order_365d
        END AS loyal_threshold,
        CASE
            WHEN held = 'high_potential' THEN $value_cut_leave
            WHEN held = 'nurture_needed' THEN $value_cut_enter
            ELSE 1.0
        END AS value_cut_factor
    FROM known
),
lapse AS (
    SELECT
        *,
        CASE
            WHEN order_days = 0 THEN NULL
            WHEN vitality < vitality_threshold THEN 'vitality_low'
            WHEN days_since_last_order >= $lapsed_silence_days THEN 'silence_long'
            WHEN NOT $dropout_identified AND silence_probability < $lapsed_silence_probability
                THEN 'silence_improbable'
        END AS lapsed_by
    FROM bands
),
churn AS (
    SELECT
        *,
        CASE
            WHEN lapsed_by IS NULL THEN NULL
            WHEN relative_chance < relative_chance_threshold THEN 'chance_below_new_buyer'
            WHEN days_since_last_order >= $churned_silence_days THEN 'silence_very_long'
        END AS churned_by
    FROM lapse
)
SELECT
    *,
    lapsed_by IS NOT NULL AS lapsed,
    CASE
        WHEN churned_by IS NULL THEN NULL
        WHEN days_since_last_order < $churned_silence_least THEN 'churn_needs_longer_silence'
        WHEN $churn_label_suspended THEN 'churn_label_failed_audit'
    END AS churn_withheld_by,
    order_days >= $loyal_order_days
        AND lapsed_by IS NULL
        AND p_order_365d >= loyal_threshold AS loyal
FROM churn
