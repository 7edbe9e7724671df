-- The cut on past spend: the value at $top_spend_position, counted from 0, of the buyers' spend in ascending order.
-- Inputs: buyers. Grain: one row. As of: the day that buyers describes.
SELECT CAST(min(spend) AS DOUBLE) AS top_spend_cut
FROM (
    SELECT
        spend,
        row_number() OVER (ORDER BY spend) AS up_to_here
    FROM buyers
    WHERE order_days > 0
)
WHERE up_to_here > $top_spend_position
