-- The latest link of every visitor or merged customer before the cutoff; a link to itself undoes the ones before.
-- Inputs: landed_identities. Grain: one row an anonymous_id. As of: links from the cutoff on are not in the input.
SELECT anonymous_id, customer_id, linked_at
FROM (
  SELECT anonymous_id, customer_id, linked_at,
         row_number() OVER (PARTITION BY anonymous_id ORDER BY linked_at DESC, _file DESC, _row DESC) AS latest
  FROM landed_identities
)
WHERE latest = 1 AND anonymous_id <> customer_id
