-- Of the persons whose own record is not landed, the record that stands for them: the oldest.
-- Inputs: landed_customers, roots. Grain: one row a person.
SELECT id FROM (
  SELECT r.id, row_number() OVER (PARTITION BY r.root ORDER BY c.created_at NULLS LAST, r.id) AS place
  FROM (SELECT r.id, r.root FROM roots r LEFT ANTI JOIN landed_customers l ON l.customer_id = r.root) r
  JOIN landed_customers c ON c.customer_id = r.id
) WHERE place = 1
