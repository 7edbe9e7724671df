-- Which customer has an e-mail address or a phone that an order without customer_id names; where several have it, the one
-- created first, those that are not deleted before those that are.
-- Inputs: landed_customers, landed_orders, roots. Grain: one row an address. Only customers with a wanted address go further
-- than the first join.
-- As of: customers who exist before the cutoff, by their account or by an order that names them.
WITH wanted AS (
  SELECT DISTINCT lower(email) AS address FROM landed_orders WHERE customer_id IS NULL AND email IS NOT NULL
  UNION ALL
  SELECT DISTINCT phone FROM landed_orders WHERE customer_id IS NULL AND phone IS NOT NULL
),
known AS (
  SELECT customer_id, email, phone, deleted_at,
         coalesce(created_at, email_subscribed_at, email_consent_at, _version, $first_landed) AS since_at
  FROM landed_customers
  WHERE email IS NOT NULL OR phone IS NOT NULL
),
named AS (
  SELECT a.* FROM wanted w RIGHT SEMI JOIN (
    SELECT 'email' AS kind, lower(email) AS address, customer_id, deleted_at, since_at FROM known WHERE email IS NOT NULL
    UNION ALL
    SELECT 'phone', phone, customer_id, deleted_at, since_at FROM known WHERE phone IS NOT NULL
  ) a ON a.address = w.address
),
existing AS (
  SELECT n.* FROM named n
  LEFT JOIN (SELECT customer_id FROM landed_orders WHERE test IS NOT TRUE) o ON o.customer_id = n.customer_id AND n.since_at >= $cutoff
  WHERE n.since_at IS NULL OR n.since_at < $cutoff OR o.customer_id IS NOT NULL
),
persons AS (
  SELECT e.kind, e.address, coalesce(r.root, e.customer_id) AS customer_id, e.since_at,
         r.root IS NULL AND coalesce(e.deleted_at < $cutoff, false) AS is_deleted
  FROM existing e LEFT JOIN roots r ON r.id = e.customer_id
)
SELECT kind, address, customer_id
FROM (
  SELECT kind, address, customer_id,
         row_number() OVER (PARTITION BY kind, address ORDER BY is_deleted, since_at NULLS LAST, customer_id) AS first
  FROM persons
)
WHERE first = 1
