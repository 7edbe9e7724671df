-- The cuts on predicted value. A percentile q of n values is the value at the position ⌈q·(n−1)⌉, counted from 0, of
-- the values in ascending order: one that occurs, so "at or above" means the same on every machine.
-- Inputs: lifecycle_flags (flags.sql). Grain: one row. As of: the day of lifecycle_flags.
-- Parameters: $value_position among the candidates, $top_value_position among all buyers, the number of $buyers.
-- Only running counts over one sort: nothing here has to be held in memory as a whole.
SELECT
    min(predicted_value) FILTER (WHERE candidate AND candidates_up_to_here > $value_position) AS value_cut,
    min(predicted_value) FILTER (WHERE up_to_here > $top_value_position) AS top_value_cut,
    -- Terciles as the contract's quintiles: ⌊3 · percent_rank⌋, so equal values are alike.
    min(predicted_value) FILTER (WHERE $buyers > 1 AND 3 * (place - 1) >= $buyers - 1) AS medium_spend_from,
    min(predicted_value) FILTER (WHERE $buyers > 1 AND 3 * (place - 1) >= 2 * ($buyers - 1)) AS high_spend_from
FROM (
    SELECT
        predicted_value,
        candidate,
        row_number() OVER (ORDER BY predicted_value) AS up_to_here,
        rank() OVER (ORDER BY predicted_value) AS place,
        sum(CASE WHEN candidate THEN 1 ELSE 0 END) OVER (
            ORDER BY predicted_value ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
        ) AS candidates_up_to_here
    FROM (
        SELECT
            predicted_value,
            NOT lapsed AND NOT loyal AS candidate
        FROM lifecycle_flags
        WHERE order_days > 0
    )
)
