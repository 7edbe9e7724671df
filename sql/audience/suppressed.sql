-- What must not be used, by channel: customer ids, addresses, domains and phones as the suppressions name them.
-- Inputs: landed_suppressions. Grain: one row a name. As of: `until` counts through its day.
SELECT named, bool_or(channel IN ('email', 'all')) AS email, bool_or(channel IN ('sms', 'all')) AS sms,
       bool_or(channel IN ('ads', 'all')) AS ads, bool_or(channel IN ('post', 'all')) AS post
FROM (
  SELECT identifier AS named, channel FROM (SELECT * FROM landed_suppressions WHERE until IS NULL OR until >= $today)
  UNION ALL
  SELECT ltrim(lower(identifier), '@') AS named, channel FROM landed_suppressions WHERE until IS NULL OR until >= $today
  UNION ALL
  SELECT e164(identifier, CAST(NULL AS VARCHAR)) AS named, channel FROM landed_suppressions
  WHERE (until IS NULL OR until >= $today) AND (starts_with(identifier, '+') OR starts_with(identifier, '00'))
)
WHERE named IS NOT NULL
GROUP BY named
