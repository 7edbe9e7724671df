-- What else is known of people, one step further: who bears an address, the addresses of an id, who was merged into whom.
-- Inputs: known (kind, value), person_customers (customer_id, email, phone: digits), person_orders (order_id, customer_id,
-- email, phone: digits, contact: what a guest is named by), roots (id, root). Grain: one row a fact, those that are known
-- already among them.
SELECT 'id' AS kind, c.customer_id AS value
FROM (SELECT value FROM known WHERE kind = 'email') k JOIN person_customers c ON c.email = k.value
UNION
SELECT 'email', c.email
FROM (SELECT value FROM known WHERE kind = 'id') k JOIN person_customers c ON c.customer_id = k.value WHERE c.email IS NOT NULL
UNION
SELECT 'phone', c.phone
FROM (SELECT value FROM known WHERE kind = 'id') k JOIN person_customers c ON c.customer_id = k.value WHERE c.phone IS NOT NULL
UNION
SELECT 'id', r.root FROM (SELECT value FROM known WHERE kind = 'id') k JOIN roots r ON r.id = k.value
UNION
SELECT 'id', r.id FROM (SELECT value FROM known WHERE kind = 'id') k JOIN roots r ON r.root = k.value
UNION
-- The address of an order is its customer's unless another customer has it.
SELECT 'email', o.email
FROM (SELECT o.email FROM (SELECT value FROM known WHERE kind = 'id') k
      JOIN person_orders o ON o.customer_id = k.value WHERE o.email IS NOT NULL) o
LEFT ANTI JOIN person_customers c ON c.email = o.email
UNION
-- And so is a customer whom nothing but orders names.
SELECT 'id', o.customer_id
FROM (SELECT o.customer_id FROM (SELECT value FROM known WHERE kind = 'email') k
      JOIN person_orders o ON o.email = k.value WHERE o.customer_id IS NOT NULL) o
LEFT ANTI JOIN (SELECT customer_id FROM person_customers WHERE email IS NOT NULL) c ON c.customer_id = o.customer_id
