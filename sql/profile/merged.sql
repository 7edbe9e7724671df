-- Landed customers that were merged into another one, with the time since which they exist.
-- Inputs: landed_customers, roots. Grain: one row a merged customer. heir = 1 is the first created of those that became one
-- customer: where that customer was never landed, its attributes are the heir's.
SELECT id, root, since_at, row_number() OVER (PARTITION BY root ORDER BY since_at NULLS LAST, id) AS heir
FROM (
  SELECT r.id, r.root, coalesce(c.created_at, c.email_subscribed_at, c.email_consent_at, c._version, $first_landed) AS since_at
  FROM roots r JOIN landed_customers c ON c.customer_id = r.id
)
