-- Whose the orders without a customer_id are: the customer with the same e-mail, else phone, else a guest.
-- Inputs: landed_orders, addresses. Grain: one row an order without customer_id that has an address.
SELECT o.order_id, coalesce(e.customer_id, p.customer_id, guest_id(coalesce(lower(o.email), o.phone))) AS customer_id
FROM landed_orders o
LEFT JOIN (SELECT address, customer_id FROM addresses WHERE kind = 'email') e ON e.address = lower(o.email)
LEFT JOIN (SELECT address, customer_id FROM addresses WHERE kind = 'phone') p ON p.address = o.phone
WHERE o.customer_id IS NULL AND (o.email IS NOT NULL OR o.phone IS NOT NULL)
