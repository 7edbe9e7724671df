-- The stages' sizes and values.
-- Inputs: lifecycle_today (the rows of stage.sql). Grain: one row a stage that occurs. As of: the day of lifecycle_today.
SELECT
    arrow_cast(stage, 'Utf8View') AS stage,
    count(*) AS customers,
    CAST(sum(spend) AS DECIMAL(38, 2)) AS spend,
    -- Sums of floats depend on the order of rows: cents don't.
    CAST(coalesce(sum(CAST(predicted_value AS DECIMAL(38, 2))), 0) AS DECIMAL(38, 2)) AS predicted_value,
    count(*) FILTER (WHERE cant_lose) AS cant_lose
FROM lifecycle_today
GROUP BY stage
ORDER BY stage
