-- How many customers the high-potential cut divides: neither lapsed nor loyal.
-- Inputs: lifecycle_flags (flags.sql). Grain: one row. As of: the day of lifecycle_flags.
SELECT count(*) AS candidates
FROM lifecycle_flags
WHERE order_days > 0 AND NOT lapsed AND NOT loyal
