-- The contact data of guests: of their latest order that has them.
-- Inputs: orders_owned. Grain: one row a guest.
SELECT e.customer_id, e.email, p.phone
FROM (
  SELECT customer_id, email FROM (
    SELECT customer_id, email, row_number() OVER (PARTITION BY customer_id ORDER BY (email IS NOT NULL) DESC, ordered_at DESC, order_id DESC) AS latest
    FROM orders_owned WHERE starts_with(customer_id, 'guest:')
  ) WHERE latest = 1
) e
JOIN (
  SELECT customer_id, phone FROM (
    SELECT customer_id, phone, row_number() OVER (PARTITION BY customer_id ORDER BY (phone IS NOT NULL) DESC, ordered_at DESC, order_id DESC) AS latest
    FROM orders_owned WHERE starts_with(customer_id, 'guest:')
  ) WHERE latest = 1
) p ON p.customer_id = e.customer_id
